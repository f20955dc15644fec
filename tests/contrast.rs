//! The colours of style/tokens.css can be read: WCAG AA, in both themes.
#![forbid(unsafe_code)]

use std::collections::HashMap;

/// Least contrast of text (WCAG 2.2, 1.4.3).
const TEXT: f64 = 4.5;

/// Least contrast of what must be seen but not read: borders of controls, lights, focus
/// rings (WCAG 2.2, 1.4.11).
const SHAPE: f64 = 3.0;

type Colour = [f64; 3];

/// Every `--name: light-dark(a, b);`, as [light, dark].
fn tokens() -> HashMap<String, [Colour; 2]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/style/tokens.css");
    let sheet = std::fs::read_to_string(path).expect("the style sheet is there");
    sheet.lines().filter_map(token).collect()
}

fn token(line: &str) -> Option<(String, [Colour; 2])> {
    let (name, value) = line.trim().strip_prefix("--")?.split_once(": light-dark(")?;
    let (light, dark) = value.strip_suffix(");")?.split_once(", ")?;
    Some((name.to_string(), [colour(light), colour(dark)]))
}

/// `#rrggbb`; an alpha after it is left out.
fn colour(text: &str) -> Colour {
    let digits = text.strip_prefix('#').expect("colours are in hexadecimal");
    assert!(digits.len() == 6 || digits.len() == 8, "{text}");
    [0, 2, 4].map(|at| {
        let byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        f64::from(byte) / 255.0
    })
}

/// Relative luminance as WCAG defines it.
fn luminance(colour: Colour) -> f64 {
    let linear =
        colour.map(
            |part| {
                if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            },
        );
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn contrast(one: Colour, other: Colour) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Asserts for both themes.
fn require(front: &str, back: &str, least: f64) {
    let tokens = tokens();
    let find = |name: &str| *tokens.get(name).unwrap_or_else(|| panic!("no colour {name}"));
    let (front_pair, back_pair) = (find(front), find(back));
    for (theme, index) in [("light", 0), ("dark", 1)] {
        let measured = contrast(front_pair[index], back_pair[index]);
        assert!(measured >= least, "{front} on {back}, {theme}: {measured:.2} is below {least}");
    }
}

#[test]
fn the_measure_is_that_of_wcag() {
    let black_on_white = contrast(colour("#000000"), colour("#ffffff"));
    assert!((black_on_white - 21.0).abs() < 1e-9);
    let grey_on_white = contrast(colour("#767676"), colour("#ffffff"));
    assert!((grey_on_white - 4.54).abs() < 0.01, "{grey_on_white}");
}

#[test]
fn text_can_be_read() {
    let grounds = ["ground", "surface", "raised", "hover", "accent-soft", "warning-soft"];
    for ground in grounds {
        require("text", ground, TEXT);
        require("text-muted", ground, TEXT);
    }
    for ground in ["ground", "surface", "raised", "accent-soft"] {
        require("accent", ground, TEXT);
    }
    require("on-accent", "accent", TEXT);
    require("danger", "danger-soft", TEXT);
    require("warning", "warning-soft", TEXT);
}

#[test]
fn shapes_can_be_seen() {
    for ground in ["ground", "surface", "raised"] {
        require("line-strong", ground, SHAPE);
        require("accent", ground, SHAPE);
        require("danger", ground, SHAPE);
        require("warning", ground, SHAPE);
    }
    require("term-cursor", "term-background", SHAPE);
}

#[test]
fn the_terminals_colours_can_be_read() {
    for name in ["red", "green", "yellow", "blue", "magenta", "cyan", "white"] {
        require(&format!("term-{name}"), "term-background", TEXT);
        require(&format!("term-bright-{name}"), "term-background", TEXT);
    }
    require("term-bright-black", "term-background", TEXT);
    require("term-foreground", "term-background", TEXT);
    // Matches are marked behind the text.
    require("term-foreground", "term-match", TEXT);
    require("term-foreground", "term-match-active", TEXT);
}
