//! Gives the workers' programs a stack of 4 MiB: the simulated shell's interpreter recurses
//! with the scripts that it runs, and the linker's default is 1 MiB.
#![forbid(unsafe_code)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-bins=-zstack-size=4194304");
    }
}
