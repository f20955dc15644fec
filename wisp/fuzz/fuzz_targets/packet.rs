//! Any bytes as a packet. What is accepted must be what would be written.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use wisp::packet::Packet;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::parse(bytes) {
        let mut written = Vec::new();
        packet.write(&mut written);
        assert_eq!(written, bytes);
        assert_eq!(written.len(), packet.size());
        if let Packet::Info(info) = packet {
            let listed: usize = info.extensions().map(|(_, payload)| 5 + payload.len()).sum();
            assert_eq!(7 + listed, bytes.len(), "every entry is seen");
        }
    }
});
