//! What engines remember, in each of the stores: the same behaviour, the same answers, nothing lost
//! and nothing counted twice.

mod absence;
mod behaviour;
mod daemons;
mod processes;
mod site;
