//! The console device with several ports (virtio 1.2 §5.3).
//!
//! Port 0 is the terminal, the others are byte streams by name. What is typed waits here until
//! the guest has opened the port and posted a buffer: Linux throws away what arrives at a port
//! that nobody has opened. When nobody fetches the output, the guest's buffers stay in the
//! queue and the guest waits.

use std::collections::VecDeque;

use super::queue::Broken;
use super::{Function, Lane};
use crate::state::{Malformed, check, record, whole};

/// Bytes of input that wait for the guest, a port.
pub const INPUT_LIMIT: usize = 64 << 10;
/// Bytes of output from which on no more buffers are taken, a port.
pub const OUTPUT_HIGH_WATER: usize = 64 << 10;
/// Bytes of one buffer: Linux writes 32 KiB, and splices 64 KiB.
pub const BUFFER_LIMIT: u64 = 1 << 20;
/// Ports at most.
pub const PORT_LIMIT: usize = 8;
/// Messages from which on no more of the guest's are read. One of those brings forth at most
/// [`PORT_LIMIT`].
const CONTROL_LIMIT: usize = 64;
/// A control message from the driver; what is beyond is not looked at.
const CONTROL: usize = 8;

/// Features (§5.3.3): size, several ports, emergency write.
const SIZE: u64 = 1 << 0;
const MULTIPORT: u64 = 1 << 1;
const EMERGENCY: u64 = 1 << 2;
const EMERGENCY_OFFSET: u64 = 8;

/// Control events (§5.3.6.2).
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

const CONTROL_IN: usize = 2;
const CONTROL_OUT: usize = 3;

/// In which order a resize message has its two numbers. The specification says columns first;
/// Linux read rows first until commit 5326ab737a47 (6.15, and later 6.12s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeOrder {
    /// As in §5.3.6.2.
    ColumnsFirst,
    /// As older Linux has it.
    RowsFirst,
}

record! {
    /// A port.
    pub struct Port {
        /// For the guest, and not yet in a buffer of its.
        pub input: VecDeque<u8>,
        /// From the guest, and not yet fetched.
        pub output: Vec<u8>,
        /// A program of the guest (or its terminal) listens.
        pub open: bool,
    }
}

record! {
    /// What the device holds.
    pub struct State {
        /// The ports.
        pub ports: Vec<Port>,
        /// Control messages for which the guest has posted no buffer yet.
        pub control: VecDeque<Vec<u8>>,
        /// Columns.
        pub columns: u16,
        /// Rows.
        pub rows: u16,
        /// The guest has a terminal at port 0, and so wants to know its size.
        pub terminal: bool,
        /// It does not know the present size yet.
        pub resized: bool,
    }
}

/// The device.
#[derive(Debug)]
pub struct Console {
    names: Vec<String>,
    order: SizeOrder,
    state: State,
}

fn input_queue(port: usize) -> usize {
    if port == 0 { 0 } else { 2 + 2 * port }
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

impl Console {
    /// A terminal and, after it, ports of these names (`/dev/virtio-ports/NAME`). Names beyond
    /// [`PORT_LIMIT`] are left out.
    pub fn new(names: &[&str], order: SizeOrder) -> Self {
        let names: Vec<String> =
            names.iter().take(PORT_LIMIT - 1).map(|name| name.to_string()).collect();
        let port = Port { input: VecDeque::new(), output: Vec::new(), open: false };
        let state = State {
            ports: vec![port; names.len() + 1],
            control: VecDeque::new(),
            columns: 80,
            rows: 24,
            terminal: false,
            resized: false,
        };
        Console { names, order, state }
    }

    /// Gives bytes to a port; says how many of them there is room for.
    pub fn offer(&mut self, port: usize, bytes: &[u8]) -> usize {
        let Some(port) = self.state.ports.get_mut(port) else { return 0 };
        let taken = bytes.len().min(INPUT_LIMIT - port.input.len());
        port.input.extend(&bytes[..taken]);
        taken
    }

    /// Bytes that wait for the guest at a port.
    pub fn waiting(&self, port: usize) -> usize {
        self.state.ports.get(port).map_or(0, |port| port.input.len())
    }

    /// Fetches what the guest has written to a port.
    pub fn take_output(&mut self, port: usize) -> Vec<u8> {
        self.state
            .ports
            .get_mut(port)
            .map(|port| std::mem::take(&mut port.output))
            .unwrap_or_default()
    }

    /// Does the guest listen at the port?
    pub fn is_open(&self, port: usize) -> bool {
        self.state.ports.get(port).is_some_and(|port| port.open)
    }

    /// The window has another size. Several in a row count as the last one.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.state.resized |= (self.state.columns, self.state.rows) != (columns, rows);
        (self.state.columns, self.state.rows) = (columns, rows);
    }

    fn size_message(&self) -> Vec<u8> {
        let (columns, rows) = (self.state.columns, self.state.rows);
        let pair = match self.order {
            SizeOrder::ColumnsFirst => [columns, rows],
            SizeOrder::RowsFirst => [rows, columns],
        };
        let mut bytes = message(0, RESIZE, 0);
        pair.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes
    }

    /// The guest says something about a port, or that it is there.
    fn hear(&mut self, bytes: &[u8]) {
        let Ok([a, b, c, d, e, f, g, h]) = <[u8; CONTROL]>::try_from(bytes) else { return };
        let id = u32::from_le_bytes([a, b, c, d]);
        let (event, value) = (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
        if event == DEVICE_READY && value == 1 {
            let ports = 0..self.state.ports.len() as u32;
            self.state.control.extend(ports.map(|port| message(port, DEVICE_ADD, 1)));
            return;
        }
        let Some(port) = self.state.ports.get_mut(id as usize) else { return };
        match event {
            PORT_READY if value == 1 => self.introduce(id),
            PORT_OPEN => port.open = value != 0,
            _ => {}
        }
    }

    /// What a new port is: the terminal, or a stream with a name. The host's end is open.
    fn introduce(&mut self, id: u32) {
        if id == 0 {
            self.state.control.push_back(message(id, CONSOLE_PORT, 1));
            (self.state.terminal, self.state.resized) = (true, true);
        } else if let Some(name) = self.names.get(id as usize - 1) {
            let mut bytes = message(id, PORT_NAME, 1);
            bytes.extend(name.as_bytes());
            self.state.control.push_back(bytes);
        }
        self.state.control.push_back(message(id, PORT_OPEN, 1));
    }

    fn service_control(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        while self.state.control.len() < CONTROL_LIMIT {
            let Some(chain) = lane.pop(CONTROL_OUT)? else { break };
            let bytes = chain.read(lane.memory, 0, CONTROL)?;
            lane.push(CONTROL_OUT, chain.head, 0)?;
            self.hear(&bytes);
        }
        loop {
            if self.state.control.is_empty() && self.state.terminal && self.state.resized {
                self.state.resized = false;
                let message = self.size_message();
                self.state.control.push_back(message);
            }
            if self.state.control.is_empty() {
                return Ok(());
            }
            let Some(chain) = lane.pop(CONTROL_IN)? else { return Ok(()) };
            let Some(message) = self.state.control.pop_front() else { return Ok(()) };
            let written = chain.write(lane.memory, 0, &message)?;
            lane.push(CONTROL_IN, chain.head, written)?;
        }
    }

    fn service_port(&mut self, port: usize, lane: &mut Lane<'_>) -> Result<(), Broken> {
        let queue = input_queue(port);
        let several = lane.features & MULTIPORT != 0;
        let port = &mut self.state.ports[port];
        while (port.open || !several) && !port.input.is_empty() {
            let Some(chain) = lane.pop(queue)? else { break };
            let written = chain.write(lane.memory, 0, port.input.make_contiguous())?;
            port.input.drain(..written);
            lane.push(queue, chain.head, written)?;
        }
        while port.output.len() < OUTPUT_HIGH_WATER {
            let Some(chain) = lane.pop(queue + 1)? else { break };
            if chain.readable_length() > BUFFER_LIMIT {
                return Err(Broken);
            }
            port.output.extend(chain.read(lane.memory, 0, BUFFER_LIMIT as usize)?);
            lane.push(queue + 1, chain.head, 0)?;
        }
        Ok(())
    }
}

impl Function for Console {
    const ID: u32 = 3;
    const QUEUE_SIZE: u16 = 128;

    fn queues(&self) -> usize {
        2 + 2 * self.state.ports.len()
    }

    fn features(&self) -> u64 {
        SIZE | MULTIPORT | EMERGENCY
    }

    fn config(&self) -> Vec<u8> {
        let mut bytes = self.state.columns.to_le_bytes().to_vec();
        bytes.extend(self.state.rows.to_le_bytes());
        bytes.extend((self.state.ports.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    /// §5.3.4: a character before there is a driver, as early as the guest likes.
    fn configure(&mut self, offset: u64, value: u32) {
        let output = &mut self.state.ports[0].output;
        if offset == EMERGENCY_OFFSET && output.len() < OUTPUT_HIGH_WATER {
            output.push(value as u8);
        }
    }

    fn service(&mut self, lane: &mut Lane<'_>) -> Result<(), Broken> {
        if lane.features & MULTIPORT == 0 {
            if std::mem::take(&mut self.state.resized) {
                lane.config_changed();
            }
            return self.service_port(0, lane);
        }
        self.service_control(lane)?;
        (0..self.state.ports.len()).try_for_each(|port| self.service_port(port, lane))
    }

    /// What was typed and what was written stays: both are a person's.
    fn reset(&mut self) {
        self.state.control.clear();
        self.state.terminal = false;
        self.state.ports.iter_mut().for_each(|port| port.open = false);
    }

    fn save(&self) -> Vec<u8> {
        self.state.to_bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Malformed> {
        let state: State = whole(state)?;
        check(state.ports.len() == self.state.ports.len())?;
        check(state.control.len() <= CONTROL_LIMIT + PORT_LIMIT)?;
        for port in &state.ports {
            check(port.input.len() <= INPUT_LIMIT)?;
            check(port.output.len() <= OUTPUT_HIGH_WATER + BUFFER_LIMIT as usize)?;
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use emulator_bus::{Device, Memory};

    use super::super::driver::{Driver, bring_up, bring_up_with, load, store, torment};
    use super::super::{Mmio, VERSION_1};
    use super::*;

    struct Guest {
        device: Mmio<Console>,
        memory: Memory,
        drivers: Vec<Driver>,
    }

    impl Guest {
        fn new(order: SizeOrder) -> Self {
            let mut device = Mmio::new(Console::new(&["agent"], order));
            let mut memory = Memory::new(1 << 16);
            let drivers = bring_up(&mut device, &mut memory);
            Guest { device, memory, drivers }
        }

        fn say(&mut self, port: u32, event: u16, value: u16) {
            let bytes = message(port, event, value);
            self.memory.slice_mut(0x8000, 8).unwrap().copy_from_slice(&bytes);
            self.drivers[CONTROL_OUT].post(&mut self.memory, &[(0x8000, 8)], &[]);
            store(&mut self.device, &mut self.memory, 0x50, CONTROL_OUT as u64);
            self.drivers[CONTROL_OUT].done(&self.memory).unwrap();
        }

        /// Posts a buffer to a queue and says what comes back in it.
        fn receive(&mut self, queue: usize, length: u32) -> Option<Vec<u8>> {
            self.drivers[queue].post(&mut self.memory, &[], &[(0x9000, length)]);
            store(&mut self.device, &mut self.memory, 0x50, queue as u64);
            self.received(queue)
        }

        fn received(&mut self, queue: usize) -> Option<Vec<u8>> {
            let (_, written) = self.drivers[queue].done(&self.memory)?;
            Some(self.memory.slice(0x9000, written as usize).unwrap().to_vec())
        }

        fn write(&mut self, queue: usize, bytes: &[u8]) {
            self.memory.slice_mut(0xA000, bytes.len()).unwrap().copy_from_slice(bytes);
            self.drivers[queue].post(&mut self.memory, &[(0xA000, bytes.len() as u32)], &[]);
            store(&mut self.device, &mut self.memory, 0x50, queue as u64);
        }
    }

    #[test]
    fn ports_are_introduced_as_linux_asks() {
        let mut guest = Guest::new(SizeOrder::ColumnsFirst);
        guest.device.function_mut().resize(132, 43);
        guest.say(0, DEVICE_READY, 1);
        for id in [0, 1] {
            assert_eq!(guest.receive(CONTROL_IN, 64), Some(message(id, DEVICE_ADD, 1)));
        }
        guest.say(0, PORT_READY, 1);
        guest.say(1, PORT_READY, 1);
        assert_eq!(guest.receive(CONTROL_IN, 64), Some(message(0, CONSOLE_PORT, 1)));
        assert_eq!(guest.receive(CONTROL_IN, 64), Some(message(0, PORT_OPEN, 1)));
        let named = [message(1, PORT_NAME, 1), b"agent".to_vec()].concat();
        assert_eq!(guest.receive(CONTROL_IN, 64), Some(named));
        assert_eq!(guest.receive(CONTROL_IN, 64), Some(message(1, PORT_OPEN, 1)));
        let size = [message(0, RESIZE, 0), vec![132, 0, 43, 0]].concat();
        assert_eq!(guest.receive(CONTROL_IN, 64), Some(size));
        assert_eq!(guest.receive(CONTROL_IN, 64), None);
        assert!(guest.device.line());
    }

    #[test]
    fn many_sizes_are_the_last_one_and_wait_for_a_buffer() {
        let mut guest = Guest::new(SizeOrder::RowsFirst);
        guest.say(0, PORT_READY, 1);
        for _ in 0..3 {
            guest.receive(CONTROL_IN, 64).unwrap();
        }
        for columns in 90..100 {
            guest.device.function_mut().resize(columns, 30);
            guest.device.service(&mut guest.memory);
        }
        // The first was a message at once; the rest is one more.
        let sizes = [guest.receive(CONTROL_IN, 64), guest.receive(CONTROL_IN, 64)];
        assert_eq!(sizes[1].as_deref().map(|bytes| &bytes[8..]), Some(&[30, 0, 99, 0][..]));
        assert_eq!(guest.receive(CONTROL_IN, 64), None);
    }

    #[test]
    fn nothing_typed_is_lost() {
        let mut guest = Guest::new(SizeOrder::ColumnsFirst);
        assert_eq!(guest.device.function_mut().offer(1, b"hello world"), 11);
        assert_eq!(guest.receive(4, 5), None);
        guest.say(1, PORT_OPEN, 1);
        assert!(guest.device.function().is_open(1));
        assert_eq!(guest.received(4), Some(b"hello".to_vec()));
        let bytes = guest.device.save();
        guest.device.restore(&bytes).unwrap();
        assert_eq!(guest.receive(4, 100), Some(b" world".to_vec()));
        assert_eq!(guest.device.function().waiting(1), 0);
        let long = vec![b'x'; INPUT_LIMIT + 1];
        assert_eq!(guest.device.function_mut().offer(0, &long), INPUT_LIMIT);
        assert_eq!(guest.device.function_mut().offer(7, b"?"), 0);
    }

    #[test]
    fn output_that_nobody_fetches_stays_with_the_guest() {
        let mut guest = Guest::new(SizeOrder::ColumnsFirst);
        let buffers = OUTPUT_HIGH_WATER / 0x4000;
        for _ in 0..buffers + 2 {
            guest.write(1, &[b'.'; 0x4000]);
        }
        for _ in 0..buffers {
            assert!(guest.drivers[1].done(&guest.memory).is_some());
        }
        assert_eq!(guest.drivers[1].done(&guest.memory), None);
        assert_eq!(guest.device.function_mut().take_output(0).len(), OUTPUT_HIGH_WATER);
        guest.device.service(&mut guest.memory);
        assert_eq!(guest.device.function_mut().take_output(0).len(), 0x8000);
        guest.write(5, b"from the agent");
        assert_eq!(guest.device.function_mut().take_output(1), b"from the agent");
    }

    #[test]
    fn a_driver_of_one_port_reads_the_size_itself() {
        let mut device = Mmio::new(Console::new(&[], SizeOrder::ColumnsFirst));
        let mut memory = Memory::new(1 << 16);
        let mut drivers = bring_up_with(&mut device, &mut memory, VERSION_1 | SIZE);
        device.function_mut().resize(100, 50);
        device.function_mut().offer(0, b"x");
        drivers[0].post(&mut memory, &[], &[(0x9000, 1)]);
        device.service(&mut memory);
        assert_eq!(drivers[0].done(&memory), Some((0, 1)));
        assert_eq!(load(&mut device, &mut memory, 0x60), 3);
        assert_eq!(load(&mut device, &mut memory, 0x100), 50 << 16 | 100);
        store(&mut device, &mut memory, 0x108, b'!'.into());
        assert_eq!(device.function_mut().take_output(0), b"!");
    }

    #[test]
    fn a_hostile_driver_is_survived() {
        let device = Mmio::new(Console::new(&["a", "b"], SizeOrder::ColumnsFirst));
        torment(device, 8, |device| {
            device.function_mut().offer(0, b"input");
            let waiting = device.function().waiting(0);
            device.function_mut().resize(waiting as u16, 1);
        });
    }
}
