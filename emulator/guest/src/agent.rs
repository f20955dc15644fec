//! What is told to the guest's agent, a program that reads the second port of the console.

use emulator_engine::Awakening;

/// What the agent reads (image/agent/agent.c has the layout).
#[must_use]
pub fn frame(awakening: &Awakening) -> Vec<u8> {
    let mut frame = b"WAKEvm01".to_vec();
    frame.extend_from_slice(&awakening.time.as_secs().to_le_bytes());
    frame.extend_from_slice(&awakening.time.subsec_nanos().to_le_bytes());
    frame.extend_from_slice(&awakening.entropy);
    frame
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_agent_gets_its_frame() {
        let time = Duration::new(0x0102_0304, 5);
        let frame = frame(&Awakening { time, entropy: [7; 32] });
        assert_eq!(&frame[..8], b"WAKEvm01");
        assert_eq!(frame[8..20], [4, 3, 2, 1, 0, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(frame[20..], [7; 32]);
    }
}
