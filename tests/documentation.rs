//! `docs/api.md` and `docs/vivarium.d.ts` say what `src/api.rs` and `src/api/` do: every name that the
//! object has, every code that an error has.
#![forbid(unsafe_code)]

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Text literals that follow a piece of code.
fn literals<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    let after = source.split(before).skip(1);
    after.filter_map(|rest| rest.split('"').next()).collect()
}

fn require(names: &[&str], least: usize) {
    assert!(names.len() >= least, "the source was read: {names:?}");
    let (guide, types) = (read("docs/api.md"), read("docs/vivarium.d.ts"));
    for name in names {
        assert!(guide.contains(name), "docs/api.md does not tell of {name}");
        assert!(types.contains(name), "docs/vivarium.d.ts does not know {name}");
    }
}

#[test]
fn every_property_is_told() {
    let files = ["src/api.rs", "src/api/snapshots.rs", "src/api/network.rs"];
    let source: String = files.map(read).concat();
    let mut names = literals(&source, "put(&object, \"");
    names.extend(literals(&source, "getter(&object, \""));
    names.extend(literals(&source, "put(&debug, \""));
    names.extend(literals(&source, "read(\""));
    require(&names, 90);
}

#[test]
fn every_code_is_told() {
    let source = read("src/api.rs");
    let mut codes: Vec<_> = source
        .lines()
        .filter(|line| line.trim().starts_with("FaultKind::"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    codes.extend(literals(&source, ": &str = \""));
    require(&codes, 19);
}

#[test]
fn every_state_and_topic_is_told() {
    let source = read("src/api.rs");
    let states: Vec<_> =
        source.lines().filter(|line| line.trim().starts_with("MachineState::")).collect();
    let names: Vec<_> = states.iter().filter_map(|line| line.split('"').nth(1)).collect();
    require(&names, 7);
    require(&["\"state\"", "\"console\"", "\"fault\"", "\"network\""], 4);
}
