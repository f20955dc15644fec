//! Looks only: nothing in here knows of a machine.

pub(crate) mod dialog;
pub(crate) mod icon;
pub(crate) mod notice;
pub(crate) mod prompt;
