//! `cargo xtask stage`: Trunk's hook after a build. Adds to the staging directory what Trunk
//! does not know of, and writes the build's name into the URLs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use emulator_disk::{WARM, WARM_DIRECTORY};

use crate::image::Arch;
use crate::step::{self, Key, output, root, run};

/// Names the variable with the build's name; the app compiles it in.
pub(crate) const BUILD_ID: &str = "VIVARIUM_BUILD_ID";

/// Stands for the build's name in index.html.
const PLACEHOLDER: &str = "__BUILD_ID__";

/// Files of npm's parts that the page loads: (in node_modules, in dist).
const VENDOR: &[(&str, &str)] = &[
    ("@xterm/xterm/lib/xterm.mjs", "xterm/xterm.mjs"),
    ("@xterm/xterm/css/xterm.css", "xterm/xterm.css"),
    ("@xterm/addon-clipboard/lib/addon-clipboard.mjs", "xterm/addon-clipboard.mjs"),
    ("@xterm/addon-fit/lib/addon-fit.mjs", "xterm/addon-fit.mjs"),
    ("@xterm/addon-search/lib/addon-search.mjs", "xterm/addon-search.mjs"),
    ("@xterm/addon-serialize/lib/addon-serialize.mjs", "xterm/addon-serialize.mjs"),
    ("@xterm/addon-unicode11/lib/addon-unicode11.mjs", "xterm/addon-unicode11.mjs"),
    ("@xterm/addon-web-links/lib/addon-web-links.mjs", "xterm/addon-web-links.mjs"),
    ("@xterm/addon-webgl/lib/addon-webgl.mjs", "xterm/addon-webgl.mjs"),
    ("v86/build/libv86.mjs", "v86/libv86.mjs"),
    ("v86/build/v86.wasm", "v86/v86.wasm"),
];

/// Style sheets that come before the others: what the others are written in terms of.
const FIRST_STYLES: &[&str] = &["tokens.css", "base.css"];

/// What rustc emits for this target by default, so that wasm-opt keeps to it.
const WASM_OPT: &[&str] = &[
    "-Os",
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-call-indirect-overlong",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
    "--strip-debug",
    "--strip-producers",
];

/// Runs as the hook; Trunk says by environment where.
pub(crate) fn hook() -> Result<()> {
    let staging = env::var_os("TRUNK_STAGING_DIR")
        .map(PathBuf::from)
        .context("`stage` is Trunk's hook; to build the page run `cargo xtask dist`")?;
    let build_id = env::var(BUILD_ID).unwrap_or_else(|_| "dev".into());
    vendor(&staging.join("vendor"))?;
    fs::write(staging.join("style.css"), styles(&root().join("style"))?)?;
    if env::var("TRUNK_PROFILE").as_deref() == Ok("release") {
        optimize(&staging)?;
    }
    name_build(&staging, &build_id)?;
    image(&staging)
}

fn vendor(place: &Path) -> Result<()> {
    for (from, to) in VENDOR {
        let from = root().join("node_modules").join(from);
        let to = place.join(to);
        fs::create_dir_all(to.parent().expect("below vendor"))?;
        let is_text = matches!(to.extension().and_then(|e| e.to_str()), Some("mjs" | "css"));
        if is_text {
            // Source maps stay away, so nothing may point to them.
            let text =
                fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
            let kept: Vec<_> =
                text.lines().filter(|line| !line.starts_with("//# sourceMappingURL=")).collect();
            fs::write(&to, kept.join("\n"))?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    Ok(())
}

/// All style sheets as one: a single request before the first paint.
fn styles(folder: &Path) -> Result<String> {
    let mut names: Vec<String> = match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?,
        Err(_) => Vec::new(),
    };
    names.retain(|name| name.ends_with(".css"));
    let rank =
        |name: &str| FIRST_STYLES.iter().position(|first| *first == name).unwrap_or(usize::MAX);
    names.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    let mut all = String::new();
    for name in names {
        all.push_str(&fs::read_to_string(folder.join(&name))?);
        all.push('\n');
    }
    Ok(all)
}

/// Replaces each program by its optimized form. Results are kept under the hash of what
/// went in, so that a change of the page does not optimize the workers again.
fn optimize(staging: &Path) -> Result<()> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(staging)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            programs.push(path);
        }
    }
    std::thread::scope(|scope| {
        let running: Vec<_> =
            programs.iter().map(|program| scope.spawn(|| optimize_one(program))).collect();
        running.into_iter().try_for_each(|one| one.join().expect("no worker panics"))
    })
}

fn optimize_one(program: &Path) -> Result<()> {
    let wasm_opt = root().join("node_modules/binaryen/bin/wasm-opt");
    if !wasm_opt.exists() {
        bail!("there is no wasm-opt: run `cargo xtask setup`");
    }
    let package = fs::read_to_string(root().join("node_modules/binaryen/package.json"))?;
    let key = Key::default().text(&package).text(&WASM_OPT.join(" ")).path(program)?.finish();
    let kept = root().join("target/xtask/wasm-opt").join(&key);
    if !kept.exists() {
        fs::create_dir_all(kept.parent().expect("below target"))?;
        let scratch = kept.with_extension(std::process::id().to_string());
        let node = step::which("node").context("there is no node")?;
        run(
            Command::new(node).arg(&wasm_opt).args(WASM_OPT).arg(program).arg("-o").arg(&scratch),
            false,
        )?;
        fs::rename(scratch, &kept)?;
    }
    fs::copy(&kept, program)?;
    Ok(())
}

/// Writes the build's name into index.html and into the imports of what crates bring in
/// JavaScript, which has no name of its content either.
fn name_build(staging: &Path, build_id: &str) -> Result<()> {
    let index = staging.join("index.html");
    let mut html = fs::read_to_string(&index)?.replace(PLACEHOLDER, build_id);
    if let Some((without, script)) = inline_script(&html) {
        fs::write(staging.join("trunk-reload.js"), script)?;
        html = without;
    }
    fs::write(&index, &html)?;
    // Static hosts show this one for paths that only the app's router knows.
    fs::write(staging.join("404.html"), &html)?;
    for program in ["vivarium.js", "kernel.js", "sim.js"] {
        let path = staging.join(program);
        let text = fs::read_to_string(&path).with_context(|| format!("Trunk made no {program}"))?;
        fs::write(&path, version_snippets(&text, build_id))?;
    }
    Ok(())
}

fn version_snippets(script: &str, build_id: &str) -> String {
    let mut versioned = String::with_capacity(script.len());
    for line in script.split_inclusive('\n') {
        let import = line.starts_with("import ") && line.contains("./snippets/");
        if import {
            versioned.push_str(
                &line
                    .replace(".js\"", &format!(".js?v={build_id}\""))
                    .replace(".js'", &format!(".js?v={build_id}'")),
            );
        } else {
            versioned.push_str(line);
        }
    }
    versioned
}

/// `trunk serve` adds an inline script that reloads the page after a change. The policy
/// forbids it there, so it becomes a file.
fn inline_script(html: &str) -> Option<(String, String)> {
    let (before, rest) = html.split_once("<script>")?;
    let (script, after) = rest.split_once("</script>")?;
    let html = format!("{before}<script src=\"trunk-reload.js\"></script>{after}");
    Some((html, script.to_owned()))
}

/// Puts the guest images' files where the page looks for them. They are many and large, so
/// they are linked, not copied; without an image the page still has its simulated shell.
pub(crate) fn image(site: &Path) -> Result<()> {
    Arch::ALL.into_iter().try_for_each(|arch| image_of(arch, site))
}

fn image_of(arch: Arch, site: &Path) -> Result<()> {
    let from = arch.out();
    let to = site.join("image").join(arch.name());
    if !arch.is_built() {
        println!("  the {} guest image is not built: the page cannot start one", arch.name());
        return Ok(());
    }
    // The manifests name all files by content, and are put in place together with them.
    let same = |name: &str| fs::read(from.join(name)).ok() == fs::read(to.join(name)).ok();
    let warm = warm_names();
    let mut roots =
        ["full.json", "busybox.json"].into_iter().chain(warm.iter().map(String::as_str));
    if to.join("full.json").exists() && roots.all(same) {
        return Ok(());
    }
    let scratch = site.join(".image");
    fs::remove_dir_all(&scratch).ok();
    for name in wanted(&from)? {
        let target = scratch.join(&name);
        fs::create_dir_all(target.parent().expect("below the scratch directory"))?;
        link(&from.join(&name), &target)?;
    }
    fs::remove_dir_all(&to).ok();
    fs::create_dir_all(to.parent().expect("below the site"))?;
    fs::rename(&scratch, &to)?;
    Ok(())
}

/// Names of the files that the manifests mention, and the manifests.
fn wanted(image: &Path) -> Result<Vec<PathBuf>> {
    let mut names = vec![PathBuf::from("packages.txt"), PathBuf::from("packages.json")];
    names.retain(|name| image.join(name).exists());
    for flavour in ["full.json", "busybox.json"] {
        let text = fs::read(image.join(flavour)).with_context(|| format!("reading {flavour}"))?;
        let manifest = emulator_disk::Manifest::parse(&text)
            .map_err(|error| anyhow::anyhow!("{}/{flavour}: {error}", image.display()))?;
        names.push(flavour.into());
        names.push(manifest.kernel.path.into());
        names.push(manifest.initrd.path.into());
        if let Some(firmware) = manifest.firmware {
            names.push(firmware.bios.path.into());
            names.push(firmware.vgabios.path.into());
        }
        if let Some(disk) = manifest.disk {
            let folder = PathBuf::from(&disk.path);
            names.extend(disk.chunks.iter().flatten().map(|chunk| folder.join(&chunk.id)));
        }
    }
    for name in warm_names() {
        let path = image.join(&name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let manifest = emulator_snapshot::Manifest::read(&bytes)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let folder = PathBuf::from(WARM_DIRECTORY);
        names.extend(manifest.chunks().map(|(id, _)| folder.join(id.to_string())));
        names.push(name.into());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The saved states that the image comes with.
fn warm_names() -> Vec<String> {
    WARM.iter().map(|(flavour, memory)| format!("{WARM_DIRECTORY}{flavour}.{memory}")).collect()
}

fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        // Another file system.
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

/// Bytes of a text after gzip and brotli, by node's own zlib.
pub(crate) fn compressed(files: &[PathBuf]) -> Result<Vec<[u64; 3]>> {
    const SCRIPT: &str = "const fs=require('fs'),z=require('zlib');\
        for(const f of process.argv.slice(1)){const b=fs.readFileSync(f);\
        console.log(b.length,z.gzipSync(b,{level:9}).length,z.brotliCompressSync(b).length)}";
    let said = output(Command::new("node").args(["-e", SCRIPT, "--"]).args(files))?;
    said.lines()
        .map(|line| {
            let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            numbers.try_into().map_err(|_| anyhow::anyhow!("node said {line}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{inline_script, version_snippets};

    #[test]
    fn snippets_get_the_build_in_their_address() {
        let script =
            "import { load } from './snippets/emulator-v86-1f/src/glue.js';\nlet a = './x.js';\n";
        assert_eq!(
            version_snippets(script, "abc"),
            "import { load } from './snippets/emulator-v86-1f/src/glue.js?v=abc';\nlet a = './x.js';\n"
        );
    }

    #[test]
    fn an_inline_script_becomes_a_file() {
        let (html, script) = inline_script("<p></p><script>go();</script><i></i>").unwrap();
        assert_eq!(html, "<p></p><script src=\"trunk-reload.js\"></script><i></i>");
        assert_eq!(script, "go();");
        assert!(inline_script("<script type=\"module\" src=\"app.js\"></script>").is_none());
    }
}
