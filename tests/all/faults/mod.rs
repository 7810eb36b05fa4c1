//! What networks and people do to a run: cuts, silence, floods and Ctrl-C.

mod part;
