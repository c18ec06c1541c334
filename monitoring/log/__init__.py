"""What was asked, answered and learnt later, on disk: segments, Parquet files, a store by URL."""
