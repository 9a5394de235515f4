"""Results of a suite in few small files: what a package, a repository or a submission carries of a store."""
