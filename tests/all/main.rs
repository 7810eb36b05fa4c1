//! Every integration test, in one binary.

mod transport_laws;
