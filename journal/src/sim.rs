//! A file system in memory that loses, tears and refuses on purpose.
