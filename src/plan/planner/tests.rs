mod calls;
mod names;
mod world;
