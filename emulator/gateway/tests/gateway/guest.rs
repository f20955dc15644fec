//! A guest: a second smoltcp, with sockets of its own.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use emulator_gateway::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint};

pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 15];

#[derive(Default)]
pub(crate) struct Card {
    pub(crate) arrived: VecDeque<Vec<u8>>,
    pub(crate) sent: VecDeque<Vec<u8>>,
    mtu: usize,
    /// It leaves checksums out, and looks at none.
    offload: bool,
}

pub(crate) struct Guest {
    pub(crate) card: Card,
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    port: u16,
}

pub(crate) fn stamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(now.as_micros() as i64)
}

impl Guest {
    /// A guest that has its address already.
    pub(crate) fn new(mtu: usize, offload: bool) -> Self {
        let mut guest = Self::unconfigured(mtu, offload);
        guest.configure(Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        guest
    }

    pub(crate) fn unconfigured(mtu: usize, offload: bool) -> Self {
        let mut card = Card { mtu, offload, ..Card::default() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
        config.random_seed = 0x1234_5678_9abc_def0;
        let interface = Interface::new(config, &mut card, smoltcp::time::Instant::ZERO);
        Self { card, interface, sockets: SocketSet::new(Vec::new()), port: 40_000 }
    }

    pub(crate) fn configure(&mut self, address: Ipv4Addr, router: Ipv4Addr) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            addresses.push(IpCidr::new(address.into(), 24)).unwrap();
        });
        self.interface.routes_mut().add_default_ipv4_route(router).unwrap();
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.interface.poll(stamp(now), &mut self.card, &mut self.sockets);
    }

    pub(crate) fn connect(&mut self, address: Ipv4Addr, port: u16) -> SocketHandle {
        self.connect_with(address, port, 64 * 1024)
    }

    pub(crate) fn connect_with(
        &mut self,
        address: Ipv4Addr,
        port: u16,
        buffer: usize,
    ) -> SocketHandle {
        let buffers = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffers(), buffers());
        self.port += 1;
        let target = IpEndpoint::new(address.into(), port);
        socket.connect(self.interface.context(), target, self.port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn state(&self, handle: SocketHandle) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(handle).state()
    }

    pub(crate) fn udp(&mut self) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 128 * 1024]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        self.port += 1;
        socket.bind(self.port).unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn send_to(&mut self, handle: SocketHandle, to: (Ipv4Addr, u16), bytes: &[u8]) {
        let endpoint = IpEndpoint::new(to.0.into(), to.1);
        self.sockets.get_mut::<udp::Socket<'_>>(handle).send_slice(bytes, endpoint).unwrap();
    }

    pub(crate) fn heard(&mut self, handle: SocketHandle) -> Option<(IpEndpoint, Vec<u8>)> {
        let (bytes, meta) = self.sockets.get_mut::<udp::Socket<'_>>(handle).recv().ok()?;
        Some((meta.endpoint, bytes.to_vec()))
    }
}

impl Device for Card {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Slot<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Frame, Slot<'_>)> {
        let frame = self.arrived.pop_front()?;
        Some((Frame(frame), Slot(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Slot<'_>> {
        Some(Slot(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        if self.offload {
            capabilities.checksum.tcp = smoltcp::phy::Checksum::None;
            capabilities.checksum.udp = smoltcp::phy::Checksum::None;
        }
        capabilities
    }
}

pub(crate) struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(crate) struct Slot<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = vec![0; length];
        let result = write(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}
