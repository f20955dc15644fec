//! Engine sim: a simulated shell.
