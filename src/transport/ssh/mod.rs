//! A host over SSH; the only place that knows russh.
