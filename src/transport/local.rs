//! This machine as a host: its own `sh`, no network.
