//! Bytes of which nobody knows what they are, from both sides.

use std::time::Duration;

use emulator_gateway::{Config, Gateway};
use emulator_protocol::Policy;
use smoltcp::socket::tcp::State;

use crate::cable::Faults;
use crate::world::World;

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % below.max(1)
    }
}

/// Frames of every kind, as a guest sends them, recorded from one that does all it can.
fn frames() -> Vec<Vec<u8>> {
    let mut world = World::new();
    world.gateway.capture(true);
    let address = world.resolve("example.org");
    let handle = world.open("example.org", 80);
    world.guest.tcp(handle).send_slice(b"hello").unwrap();
    let resolver = world.guest.connect([1, 1, 1, 1].into(), 53);
    let socket = world.guest.udp();
    world.guest.send_to(socket, (address, 123), &[1; 48]);
    world.guest.sockets.add(smoltcp::socket::dhcpv4::Socket::new());
    world.run(300);
    world
        .guest
        .tcp(resolver)
        .send_slice(b"\0\x11\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01")
        .unwrap();
    world.guest.tcp(handle).close();
    world.run(300);
    let file = world.gateway.take_capture();
    let (mut frames, mut rest) = (Vec::new(), &file[24..]);
    while let Some((header, more)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(*header.last_chunk().unwrap()) as usize;
        let (frame, more) = more.split_at(length);
        if frame[6..12] == crate::guest::MAC {
            frames.push(frame.to_vec());
        }
        rest = more;
    }
    // ARP, and an echo request, which this guest does not send.
    frames.push(arp());
    frames.push(echo());
    assert!(frames.len() > 12, "{}", frames.len());
    frames
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(crate::guest::MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(crate::guest::MAC);
    frame.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    frame
}

fn echo() -> Vec<u8> {
    let mut frame = vec![0x52, 0x56, 0, 0, 0, 2];
    frame.extend(crate::guest::MAC);
    frame.extend([8, 0, 0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1, 0x62, 0xb7, 10, 0, 2, 15, 10, 0, 2, 2]);
    frame.extend([8, 0, 0x95, 0xfd, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x51, 0xe3, 0, 0]);
    frame.truncate(14 + 36);
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = words.sum();
        !((sum & 0xffff) + (sum >> 16)) as u16
    };
    for (range, at) in [(14..34, 24), (34..50, 36)] {
        frame[at..at + 2].fill(0);
        let value = sum(&frame[range]);
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    frame
}

fn drain(gateway: &mut Gateway) -> usize {
    while gateway.next_message(0).is_some() {}
    std::iter::from_fn(|| gateway.transmit()).count()
}

#[test]
fn the_gateway_answers_a_ping_and_nobody_else_does() {
    let mut gateway = Gateway::new(Config::default(), Policy::default(), [1; 32]);
    gateway.receive(&echo(), Duration::ZERO);
    let reply = gateway.transmit().unwrap();
    assert_eq!((reply[34], reply[35], &reply[38..]), (0, 0, &echo()[38..]));
    assert_eq!(gateway.transmit(), None);
    let mut world_frame = echo();
    // Somebody out there: the checksum of the header is put right by hand.
    world_frame[30..34].copy_from_slice(&[192, 0, 2, 2]);
    let sum = u16::from_be_bytes([world_frame[24], world_frame[25]]);
    let change = 0x0a00_u32 + (!0xc000_u16 as u32) + u32::from(sum);
    let folded = ((change & 0xffff) + (change >> 16)) as u16;
    world_frame[24..26].copy_from_slice(&folded.to_be_bytes());
    gateway.receive(&world_frame, Duration::ZERO);
    let error = gateway.transmit().expect("an error");
    assert_eq!((error[34], error[35], &error[26..30]), (3, 13, &[10, 0, 2, 2][..]));
}

#[test]
fn arp_is_answered_for_the_gateway_and_dns_only() {
    let mut gateway = Gateway::new(Config::default(), Policy::default(), [1; 32]);
    for last in 0..=255 {
        let mut request = arp();
        request[41] = last;
        gateway.receive(&request, Duration::ZERO);
        let reply = gateway.transmit();
        assert_eq!(reply.is_some(), last == 2 || last == 3, "{last}");
        if let Some(reply) = reply {
            assert_eq!(reply[..6], crate::guest::MAC);
            assert_eq!(reply[22..32], [0x52, 0x56, 0, 0, 0, 2, 10, 0, 2, last]);
        }
    }
}

#[test]
fn cut_frames_do_no_harm() {
    for frame in frames() {
        for length in 0..frame.len() {
            let mut gateway = Gateway::new(Config::default(), Policy::default(), [1; 32]);
            gateway.receive(&frame[..length], Duration::ZERO);
            assert!(drain(&mut gateway) <= 2);
        }
    }
}

/// With and without checksums, because with them most damage is seen there.
fn damage(verify: bool, rounds: usize) {
    let mut config = Config::default();
    config.checksums.verify = verify;
    let mut world = World::with(wisp::server::Config::default(), config, Faults::default());
    let (frames, mut random) = (frames(), Random(1));
    for round in 0..rounds {
        let mut frame = frames[random.next(frames.len())].clone();
        for _ in 0..random.next(4) {
            // Behind the checksum of IPv4, mostly.
            let low = if round % 4 == 0 { 0 } else { 34.min(frame.len() - 1) };
            let at = low + random.next(frame.len() - low);
            frame[at] = [random.next(256) as u8, 0, 0xff][random.next(3)];
        }
        if random.next(10) == 0 {
            frame.truncate(random.next(frame.len()));
        }
        let now = world.now;
        world.gateway.receive(&frame, now);
        if round % 7 == 0 {
            world.step();
        }
    }
    world.run(100);
    world.open("still.example.org", 8080);
    let report = world.gateway.report(world.now);
    assert!(report.flows.len() <= emulator_protocol::MAX_FLOWS);
}

#[test]
fn damaged_frames_do_no_harm() {
    damage(true, 20_000);
    damage(false, 60_000);
}

#[test]
fn random_bytes_are_no_frames() {
    let mut gateway = Gateway::new(Config::default(), Policy::default(), [1; 32]);
    let mut random = Random(2);
    for _ in 0..20_000 {
        let mut frame: Vec<u8> = (0..random.next(200)).map(|_| random.next(256) as u8).collect();
        if frame.len() > 14 {
            frame[..6].fill(0xff);
            frame[12..14].copy_from_slice(&[[8, 0], [8, 6]][random.next(2)]);
        }
        gateway.receive(&frame, Duration::ZERO);
        drain(&mut gateway);
    }
}

/// Segments with every combination of flags, and numbers near the right ones, into an open
/// connection.
#[test]
fn strange_segments_do_no_harm() {
    let mut config = Config::default();
    config.checksums.verify = false;
    for seed in 0..200 {
        let mut world =
            World::with(wisp::server::Config::default(), config.clone(), Faults::default());
        let mut random = Random(seed);
        let handle = world.open("example.org", 80);
        world.gateway.capture(true);
        world.guest.tcp(handle).send_slice(b"hello").unwrap();
        world.relay().say(0, &[7; 5000]);
        world.run(20);
        let file = world.gateway.take_capture();
        let from_guest: Vec<u8> = file[40..][..59].to_vec();
        assert_eq!((from_guest[23], &from_guest[54..]), (6, &b"hello"[..]));
        for _ in 0..200 {
            let mut frame = from_guest.clone();
            for at in [38, 42] {
                let number = u32::from_be_bytes(*frame[at..].first_chunk().unwrap());
                let near = [0, 1, 5, 6, 7, 5000, 5001, 65_535, 1 << 30, u32::MAX, 1 << 31];
                let moved = number.wrapping_add(near[random.next(near.len())]);
                frame[at..at + 4].copy_from_slice(&moved.to_be_bytes());
            }
            frame[47] = random.next(64) as u8;
            frame[48] = [0, 1, 0xff][random.next(3)];
            let now = world.now;
            world.gateway.receive(&frame, now);
            if random.next(3) == 0 {
                world.step();
            }
        }
        world.run(10);
    }
}

#[test]
fn a_relay_that_talks_nonsense_is_left() {
    let mut random = Random(3);
    for v2 in [false, true] {
        for round in 0..2000 {
            let mut gateway = Gateway::new(Config::default(), Policy::default(), [1; 32]);
            gateway.connected(v2, None, Duration::ZERO);
            if round % 2 == 0 {
                let _ = gateway.message(&[3, 0, 0, 0, 0, 8, 0, 0, 0], Duration::ZERO);
            }
            for _ in 0..50 {
                let mut message: Vec<u8> =
                    (0..random.next(40)).map(|_| random.next(256) as u8).collect();
                if message.len() > 5 && random.next(2) == 0 {
                    let kinds = [1, 2, 3, 4, 5, 0xf1, 0xf2];
                    message[0] = kinds[random.next(kinds.len())];
                    message[1..5].copy_from_slice(&[random.next(3) as u8, 0, 0, 0]);
                }
                if gateway.message(&message, Duration::ZERO).is_err() {
                    break;
                }
            }
            drain(&mut gateway);
            gateway.disconnected(Duration::ZERO);
            assert_eq!(gateway.poll(Duration::from_secs(1)), None);
        }
    }
}

/// Packets that are well-formed and make no sense, about a stream that is open.
#[test]
fn a_relay_may_say_anything_about_a_stream() {
    for seed in 0..300 {
        let mut world = World::new();
        let handle = world.open("example.org", 80);
        let stream = world.relay().streams[0].id;
        let mut random = Random(seed);
        world.relay = None;
        for _ in 0..40 {
            let mut message = vec![[2, 3, 4, 0xf1, 0xf2][random.next(5)]];
            message.extend((stream + random.next(2) as u32).to_le_bytes());
            message.extend((0..random.next(3000)).map(|_| random.next(256) as u8));
            let now = world.now;
            if world.gateway.message(&message, now).is_err() {
                break;
            }
            world.step();
        }
        let now = world.now;
        world.gateway.disconnected(now);
        world.until("an end", |world| {
            matches!(world.guest.state(handle), State::Closed | State::CloseWait)
        });
    }
}
