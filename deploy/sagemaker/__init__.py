"""Amazon SageMaker: one endpoint whose containers run the whole of Switchyard, or one variant each.

`values` says what it is to be like, `requests` and its neighbours render the bodies of the calls to
AWS, `platform` sends them and looks at what is there.
"""
