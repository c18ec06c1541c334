"""Real drift: April to October through a server that learnt in winter, judged week by week."""
