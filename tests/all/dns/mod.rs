//! Records of real name servers: seen, changed, taken back.

mod facts;
mod nsupdate;
mod stages;
mod zone_file;
