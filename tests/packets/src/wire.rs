//! The other end of a device's link: frames go in as a network stack would hand them to its device, unfinished, and
//! come out with whatever is still to be done to them.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::checksum;
use crate::packet::{ETHERNET, Packet};

/// A packet socket with `struct virtio_net_hdr` before each frame (`packet(7)`, `PACKET_VNET_HDR`).
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    mac: [u8; 6],
}

/// How a packet is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Finished and in one piece.
    Whole,
    /// Finished; only that many bytes of the frame lie in a row, the rest in pages of its own. The link header is the
    /// least, and the packet must be longer than a page.
    Scattered(u16),
    /// `CHECKSUM_PARTIAL`: the device is to compute the transport checksum.
    Partial,
    /// The device is to compute a checksum from that byte of the frame on, behind all headers.
    Misplaced(u16),
    /// The device is also to cut it into segments with that many bytes of payload.
    Segmented(u16),
}

/// Constants of `linux/virtio_net.h`.
const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

/// `struct virtio_net_hdr`.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    flags: u8,
    gso_type: u8,
    linear_bytes: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Header {
    const BYTES: usize = 10;

    fn bytes(self) -> Vec<u8> {
        let words = [self.linear_bytes, self.gso_size, self.checksum_start, self.checksum_offset];
        [self.flags, self.gso_type].into_iter().chain(words.into_iter().flat_map(u16::to_ne_bytes)).collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            linear_bytes: word(2),
            gso_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }
}

/// A frame that arrived, its checksum finished as a device would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub frame: Vec<u8>,
    /// Payload bytes of a segment that it was still to be cut into.
    pub segment: Option<u16>,
    /// The checksum was left to the device.
    pub was_partial: bool,
}

impl Wire {
    /// Of a device of this thread's network namespace, whose frames go to `mac`.
    pub(crate) fn open(device: &str, mac: [u8; 6]) -> Self {
        Self { socket: open(device).expect("a packet socket"), mac }
    }

    /// Sends a packet to `mac`.
    pub fn sends(&self, packet: &Packet, mac: [u8; 6], form: Form) {
        let mut frame = packet.frame(mac, self.mac);
        let at = packet.transport_at();
        let checksum_offset = if packet.protocol() == 6 { 16 } else { 6 };
        let mut header = Header::default();
        match form {
            Form::Whole => (),
            Form::Scattered(linear) => header.linear_bytes = linear,
            Form::Misplaced(start) => (header.flags, header.checksum_start) = (NEEDS_CSUM, start),
            Form::Partial | Form::Segmented(_) => {
                let sum =
                    checksum::partial(packet.from.ip(), packet.to.ip(), packet.protocol(), frame.len() - at);
                frame[at + checksum_offset..][..2].copy_from_slice(&sum.to_be_bytes());
                header.flags = NEEDS_CSUM;
                header.checksum_start = word(at);
                header.checksum_offset = word(checksum_offset);
            }
        }
        if let Form::Segmented(size) = form {
            header.gso_type = match (packet.protocol(), packet.is_ipv4()) {
                (6, true) => GSO_TCPV4,
                (6, false) => GSO_TCPV6,
                _ => GSO_UDP_L4,
            };
            header.gso_size = size;
            header.linear_bytes = word(packet.headers());
        }
        let message = [header.bytes(), frame].concat();
        let sent = (&self.socket).send(&message).expect("the frame is sent");
        assert_eq!(sent, message.len());
    }

    /// Sends a finished frame.
    pub fn sends_frame(&self, frame: &[u8]) {
        let message = [&Header::default().bytes(), frame].concat();
        let sent = (&self.socket).send(&message).expect("the frame is sent");
        assert_eq!(sent, message.len());
    }

    /// Waits for the next frame that is addressed to this end.
    pub fn receives(&self) -> Captured {
        self.receives_for(self.mac)
    }

    /// Waits for the next frame with that destination.
    pub fn receives_for(&self, mac: [u8; 6]) -> Captured {
        loop {
            let message = (&self.socket).receive().expect("a frame before the time is up");
            let (header, frame) = message.split_at(Header::BYTES);
            if frame[..6] == mac {
                return finish(Header::parse(header), frame.to_vec());
            }
        }
    }
}

fn finish(header: Header, mut frame: Vec<u8>) -> Captured {
    let was_partial = header.flags & NEEDS_CSUM != 0;
    if was_partial {
        let start = usize::from(header.checksum_start);
        let at = start + usize::from(header.checksum_offset);
        let sum = match checksum::internet(&frame[start..]) {
            // As the kernel has it: a UDP checksum of zero would mean none.
            0 => 0xffff,
            sum => sum,
        };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let segment = (header.gso_type != GSO_NONE).then_some(header.gso_size);
    Captured { frame, segment, was_partial }
}

fn word(number: usize) -> u16 {
    u16::try_from(number).expect("headers are short")
}

fn open(device: &str) -> Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL).map_err(Error::other)?.to_be();
    // SAFETY: takes integers; the descriptor is checked before it is owned.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        check(fd as isize)?;
        OwnedFd::from_raw_fd(fd)
    };
    set(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32)?;
    // Longer than any frame takes; only a lost one waits for it.
    let patience = libc::timeval { tv_sec: 60, tv_usec: 0 };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
    let name = CString::new(device)?;
    // SAFETY: the name ends with a zero byte; all of the address is initialised, and its length is its own.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = u16::try_from(libc::AF_PACKET).map_err(Error::other)?;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
        let length = u32::try_from(size_of_val(&address)).map_err(Error::other)?;
        check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) as isize)?;
    }
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<()> {
    let length = u32::try_from(size_of::<T>()).map_err(Error::other)?;
    // SAFETY: the kernel reads `length` bytes of the value.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    check(result as isize).map(drop)
}

/// What packet sockets do, by plain system calls.
trait PacketSocket {
    fn send(&self, message: &[u8]) -> Result<usize>;
    fn receive(&self) -> Result<Vec<u8>>;
}

impl PacketSocket for &OwnedFd {
    fn send(&self, message: &[u8]) -> Result<usize> {
        // SAFETY: the kernel reads as many bytes as there are.
        check(unsafe { libc::send(self.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) })
    }

    fn receive(&self) -> Result<Vec<u8>> {
        /// The longest IP packet and what comes before it.
        const MOST: usize = Header::BYTES + ETHERNET + 40 + 65_535;
        let mut message = vec![0; MOST];
        // SAFETY: the kernel writes no more bytes than there are.
        let length = check(unsafe { libc::recv(self.as_raw_fd(), message.as_mut_ptr().cast(), MOST, 0) })?;
        message.truncate(length);
        Ok(message)
    }
}

fn check(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}
