//! What the page's address asks for. It wins over the settings and is not kept.

use emulator_protocol::{EngineKind, Flavour};

use crate::engines::{self, MEMORY_MIB};
use crate::network::relay::{Wanted, Wrong};

/// The parameters of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// `engine=sim|v86|kernel`
    pub(crate) engine: Option<EngineKind>,
    /// `memory=MiB`
    pub(crate) memory_mib: Option<u32>,
    /// `autoboot=0|1`
    pub(crate) autoboot: Option<bool>,
    /// `flavour=full|busybox`
    pub(crate) flavour: Option<Flavour>,
    /// `cmdline=…`, words for the kernel.
    pub(crate) cmdline: Option<String>,
    /// `machine=…`: the name of the saved machine to go on with.
    pub(crate) machine: Option<String>,
    /// `boot=cold`: start with firmware and kernel, whatever is saved.
    pub(crate) cold: bool,
    /// `net=off`, or the address of a relay.
    pub(crate) net: Option<Wanted>,
}

/// Reads an address. What cannot be used is told in words and left out. `secure`: whether the
/// page came over https.
pub(crate) fn parse(
    value: impl Fn(&str) -> Option<String>,
    secure: bool,
) -> (Address, Vec<String>) {
    let mut complaints = Vec::new();
    let mut read = Reader { value: &value, complaints: &mut complaints };
    let memory = format!("a whole number from {} to {}", MEMORY_MIB.start(), MEMORY_MIB.end());
    let address = Address {
        engine: read.one("engine", engines::NAMES, engines::named),
        memory_mib: read.one("memory", &memory, |text| {
            text.parse().ok().filter(|mib| MEMORY_MIB.contains(mib))
        }),
        autoboot: read.one("autoboot", "0 or 1", |text| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }),
        flavour: read.one("flavour", "full or busybox", Flavour::named),
        cmdline: value("cmdline"),
        machine: read.one(
            "machine",
            "1 to 64 letters, digits, dots, dashes or underscores",
            |text| is_machine(text).then(|| text.to_string()),
        ),
        cold: read.one("boot", "cold", |text| (text == "cold").then_some(())).is_some(),
        net: read.net(secure),
    };
    (address, complaints)
}

/// Whether this can be the name of a machine.
#[must_use]
pub(crate) fn is_machine(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(letter)
}

struct Reader<'a, V> {
    value: &'a V,
    complaints: &'a mut Vec<String>,
}

impl<V: Fn(&str) -> Option<String>> Reader<'_, V> {
    fn one<T>(&mut self, name: &str, allowed: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = (self.value)(name)?;
        let value = read(&text);
        if value.is_none() {
            self.complaints.push(format!(
                "The address says {name}={text}, which is not {allowed}. The usual is used."
            ));
        }
        value
    }

    /// What is wrong is not repeated: it may hold a password.
    fn net(&mut self, secure: bool) -> Option<Wanted> {
        let wanted = Wanted::parse(&(self.value)("net")?, secure);
        let complain = |wrong: Wrong| {
            self.complaints.push(format!(
                "What the address says after net= cannot be used. {} The usual is used.",
                wrong.words()
            ));
        };
        wanted.map_err(complain).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(pairs: &[(&str, &str)]) -> (Address, Vec<String>) {
        let value = |name: &str| pairs.iter().find(|(known, _)| *known == name);
        parse(|name| value(name).map(|(_, value)| (*value).to_string()), true)
    }

    #[test]
    fn an_address_without_parameters_asks_for_nothing() {
        assert_eq!(address(&[]), (Address::default(), Vec::new()));
    }

    #[test]
    fn every_parameter_is_read() {
        let (read, complaints) = address(&[
            ("engine", "kernel"),
            ("memory", "512"),
            ("autoboot", "0"),
            ("flavour", "busybox"),
            ("cmdline", "quiet root=/dev/nonsense"),
            ("machine", "v86-full-256-2"),
            ("boot", "cold"),
            ("net", "off"),
        ]);
        assert_eq!(complaints, Vec::<String>::new());
        let expected = Address {
            engine: Some(engines::BEST_KERNEL),
            memory_mib: Some(512),
            autoboot: Some(false),
            flavour: Some(Flavour::Busybox),
            cmdline: Some("quiet root=/dev/nonsense".into()),
            machine: Some("v86-full-256-2".into()),
            cold: true,
            net: Some(Wanted::Off),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_bad_value_is_named_together_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("engine", "qemu", "sim, v86, x86-64 or kernel"),
            ("memory", "63", "64 to 2048"),
            ("memory", "lots", "64 to 2048"),
            ("autoboot", "yes", "0 or 1"),
            ("flavour", "vanilla", "full or busybox"),
            ("machine", "a b", "letters"),
            ("boot", "warm", "cold"),
        ] {
            let (read, complaints) = address(&[(name, value)]);
            assert_eq!(read, Address::default(), "{name}={value} is not used");
            let [complaint] = &complaints[..] else { panic!("one complaint about {name}") };
            assert!(complaint.contains(&format!("{name}={value}")), "{complaint}");
            assert!(complaint.contains(allowed), "{complaint}");
        }
    }

    #[test]
    fn a_bad_relay_is_explained_and_not_repeated() {
        for (value, part) in [
            ("wss://me:secret@relay.example/", "does not belong"),
            ("ws://relay.example/", "https"),
            ("", "wss://"),
        ] {
            let (read, complaints) = address(&[("net", value)]);
            assert_eq!(read, Address::default());
            let [complaint] = &complaints[..] else { panic!("one complaint about {value}") };
            assert!(complaint.contains(part) && !complaint.contains("secret"), "{complaint}");
        }
        let (read, complaints) = address(&[("net", "wisps://relay.example")]);
        assert!(
            matches!(read.net, Some(Wanted::Relay(relay)) if relay.as_str() == "wss://relay.example/")
        );
        assert!(complaints.is_empty());
    }
}
