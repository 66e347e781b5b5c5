//! Makes, inspects and merges OLLM plugin files.
