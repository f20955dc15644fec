//! Kernels that Debian has built for other machines boot on this one to a shell of an initial
//! RAM disk. (They are not told of the board's virtio devices: such a kernel learns of those
//! from ACPI, and this board has none. Its console is the serial port.)
//!
//! `VIVARIUM_KERNELS` names a folder that `cargo xtask test` fills: `busybox`, and for each
//! kernel a folder `linux-6.1` with its `vmlinuz`.

use std::fs;
use std::path::{Path, PathBuf};

use emulator_machine::Plan;

use crate::process::{folder, output, text};
use crate::proof::{Account, Run};

/// The sum that only a shell in the guest can do, and what it is.
const SUM: &str = "answer-$((6*7))";
const RESULT: &str = "answer-42";

/// The shell script that is the guest's first process.
const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mkdir /proc
$b mount -t proc proc /proc
echo release $($b uname -r) machine $($b uname -m)
$b grep -E 'model name|flags' /proc/cpuinfo
$b sleep 0.2
echo SUM
echo o > /proc/sysrq-trigger
$b sleep 60
";

fn kernels() -> Option<PathBuf> {
    let folder = std::env::var_os("VIVARIUM_KERNELS").map(PathBuf::from);
    if folder.is_none() {
        println!(
            "NOT RUN: VIVARIUM_KERNELS names no folder with Debian's kernels. `cargo xtask test` \
             sets it; by hand, `cargo xtask kernels` fetches them and says what to set"
        );
    }
    folder
}

/// A file of an archive: name, mode, content.
type Entry<'a> = (&'a str, u32, &'a [u8]);

/// An archive in the form of an initial RAM disk (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst, "newc").
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let end: Entry<'_> = ("TRAILER!!!", 0, &[]);
    for (number, (name, mode, content)) in entries.iter().chain([&end]).enumerate() {
        // Inode, mode, owner, group, links, time, size, device, its own device, name, checksum.
        let size = content.len() as u32;
        let length = name.len() as u32 + 1;
        let fields = [number as u32 + 1, *mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        bytes.extend(b"070701");
        fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn initrd(busybox: &[u8]) -> Vec<u8> {
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    let init = INIT.replace("SUM", SUM);
    archive(&[
        ("bin", FOLDER, &[]),
        ("dev", FOLDER, &[]),
        ("bin/busybox", PROGRAM, busybox),
        ("init", PROGRAM, init.as_bytes()),
    ])
}

fn boot(kernel: &Path, initrd: &Path) -> String {
    let words = "console=ttyS0 quiet panic=-1 reboot=k";
    let arguments = ["--initrd", initrd.to_str().unwrap(), "--cmdline", words, "--memory", "192"];
    let ends = ["--exit-on", RESULT, "--deterministic", "--max-instructions", "6000000000"];
    let output = output("run", kernel, &[&arguments[..], &ends].concat());
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}: {said}", kernel.display());
    text(&output.stdout)
}

/// One after the other: each is some seconds of work.
#[test]
fn stock_kernels_boot_to_a_shell() {
    let Some(kernels) = kernels() else { return };
    let busybox = fs::read(kernels.join("busybox")).unwrap();
    let disk = folder("debian").join("initrd");
    fs::write(&disk, initrd(&busybox)).unwrap();
    let mut booted = 0;
    for entry in fs::read_dir(&kernels).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(version) = name.strip_prefix("linux-") else { continue };
        let said = boot(&kernels.join(&name).join("vmlinuz"), &disk);
        assert!(said.contains(&format!("release {version}.")), "{said}");
        assert!(said.contains("machine x86_64"), "{said}");
        // The processor as Linux sees it: what x86-64-v2 asks for.
        for flag in ["sse4_2", "ssse3", "popcnt", "cx16", "lahf_lm"] {
            assert!(said.split_whitespace().any(|word| word == flag), "{flag}\n{said}");
        }
        booted += 1;
    }
    assert!(booted >= 1, "{} holds no kernel", kernels.display());
}

/// Over millions of instructions of a kernel that shares its time with nobody, with page
/// tables, interrupts and code of all kinds.
#[test]
fn a_restored_kernel_goes_the_same_way() {
    const CUTS: u64 = 4;
    const STRETCH: u64 = 100_000_000;
    let Some(kernels) = kernels() else { return };
    let kernel = fs::read(kernels.join("linux-6.1/vmlinuz")).unwrap();
    let plan = Plan { kernel: &kernel, initrd: &[], cmdline: "console=ttyS0 earlyprintk=ttyS0" };
    let run = |cut: bool| {
        let mut run = Run::boot(128, &plan);
        for stretch in 1..=CUTS {
            while run.machine.instructions() < stretch * STRETCH {
                let left = stretch * STRETCH - run.machine.instructions();
                assert_eq!(run.slice(left), None, "{}", text(&run.said));
            }
            if cut {
                run = run.restored();
            }
            // Random numbers are new ones after a restore; here they are in both.
            run.awaken(stretch as u8);
        }
        (text(&run.said), run.machine.state_hash())
    };
    let (whole, parts) = (run(false), run(true));
    assert!(whole.0.contains("Linux version"), "{}", whole.0);
    assert_eq!(parts, whole);
}

/// Page tables, copies, interrupts and all that a kernel writes with.
#[test]
fn what_a_kernel_writes_is_noted() {
    let Some(kernels) = kernels() else { return };
    let kernel = fs::read(kernels.join("linux-6.1/vmlinuz")).unwrap();
    let plan = Plan { kernel: &kernel, initrd: &[], cmdline: "console=ttyS0 earlyprintk=ttyS0" };
    let mut run = Run::boot(128, &plan);
    let mut account = Account::default();
    for _ in 0..40 {
        assert_eq!(run.slice(10_000_000), None, "{}", text(&run.said));
        account.audit(&mut run.machine);
    }
    assert!(account.same > 1000 && account.changed > 100, "{} {}", account.same, account.changed);
}

#[test]
fn an_archive_is_what_it_should_be() {
    let bytes = archive(&[("a", 0o100_644, b"hello")]);
    let header = "070701000000010000\
                  81a4000000000000000000000001000000000000000500000000000000000000000000000000\
                  0000000200000000a\0";
    assert_eq!(&bytes[..header.len()], header.as_bytes());
    assert_eq!(&bytes[112..120], b"hello\0\0\0");
    assert!(text(&bytes[120..]).contains("TRAILER!!!\0"));
    assert_eq!(bytes.len() % 4, 0);
}
