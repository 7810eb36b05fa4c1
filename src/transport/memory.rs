//! A host that exists in memory only, for tests.
