//! The project's one command.
#![forbid(unsafe_code)]

mod image;
mod step;

fn main() -> anyhow::Result<()> {
    image::build(&[image::Arch::I386])
}
