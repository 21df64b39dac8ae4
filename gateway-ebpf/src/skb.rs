//! The packet in the kernel's hands: reading, writing, redirecting and refusing it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh,
    },
    helpers::generated::{
        bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_pull_data,
        bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use gateway_common::{
    headers::{ETHERNET, Frame, IPV4, IPV6, Packet, TCP_HEADER, Window, unmapped},
    maps::{FlowKey, device_flags},
    reason::Reason,
    rewrite::{self, checksum_at},
};

/// What becomes of a packet. Every variant is a sentence about why.
pub enum Verdict {
    /// Not ours: other programs and the host go on with it.
    Pass,
    /// Dropped and counted under its reason.
    Drop(Reason),
    /// Dropped; its reason has been counted.
    Counted,
    /// A redirect helper's answer.
    Redirected(i64),
}

/// `skb->pkt_type` of a frame that is addressed to the device (linux/if_packet.h).
const PACKET_HOST: u32 = 0;
/// BPF_F_IPV6 of linux/bpf.h, newer than aya's bindings: without it CHECKSUM_COMPLETE of IPv6 goes wrong.
const BPF_F_IPV6: u64 = 1 << 7;
/// `skb->protocol` of IPv6 (IANA's EtherType) as the context shows it: in the byte order of the wire.
const ETHERTYPE_IPV6: u32 = 0x86ddu16.to_be() as u32;
/// AF_INET and AF_INET6 of linux/socket.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

pub struct Skb {
    ctx: TcContext,
}

impl Skb {
    pub fn new(ctx: TcContext) -> Self {
        Self { ctx }
    }

    pub fn ctx(&self) -> &TcContext {
        &self.ctx
    }

    #[inline(always)]
    pub fn raw(&self) -> *mut __sk_buff {
        self.ctx.as_ptr().cast()
    }

    /// Bytes of the frame, link header included.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).ifindex) }
    }

    /// The frame is addressed to the device that it came in by.
    #[inline(always)]
    pub fn is_to_device(&self) -> bool {
        // SAFETY: the context is valid while the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).pkt_type) == PACKET_HOST }
    }

    /// The frame has a VLAN tag: it belongs to another device on top of this one.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: the context is valid while the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).vlan_present) != 0 }
    }

    /// Brings the headers into the linear part, where windows look. Most packets have them there, and often nothing
    /// else, so no more is asked for than the packet's family needs.
    #[inline(always)]
    pub fn pull_headers(&self) {
        const HEADERS: usize = ETHERNET + IPV6 + TCP_HEADER + 40;
        // SAFETY: the context is valid while the program runs.
        let protocol = unsafe { core::ptr::read_volatile(&raw const (*self.raw()).protocol) };
        let ip = if protocol == ETHERTYPE_IPV6 { IPV6 } else { IPV4 };
        let length = self.length() as usize;
        if self.ctx.data() + length.min(ETHERNET + ip + TCP_HEADER) > self.ctx.data_end() {
            // A failure leaves the packet as it is; the windows then don't open and the packet passes.
            // SAFETY: the context is valid; no packet pointer is kept across the call.
            unsafe { bpf_skb_pull_data(self.raw(), length.min(HEADERS) as u32) };
        }
    }

    /// Leaves a word for the next stage of the pipeline.
    #[inline(always)]
    pub fn leave(&self, index: usize, value: u32) {
        // SAFETY: the context is valid and cb has five words.
        unsafe { core::ptr::write_volatile(&raw mut (*self.raw()).cb[index], value) }
    }

    /// A word that the stage before left.
    #[inline(always)]
    pub fn left(&self, index: usize) -> u32 {
        // SAFETY: the context is valid and cb has five words.
        unsafe { core::ptr::read_volatile(&raw const (*self.raw()).cb[index]) }
    }

    #[inline(always)]
    pub fn store<const N: usize>(&self, offset: usize, bytes: &[u8; N]) -> Result<(), Reason> {
        self.store_at(offset, bytes.as_ptr(), N)
    }

    #[inline(always)]
    fn store_at(&self, offset: usize, bytes: *const u8, length: usize) -> Result<(), Reason> {
        // SAFETY: callers pass a pointer to at least `length` bytes on the stack.
        let error = unsafe { bpf_skb_store_bytes(self.raw(), offset as u32, bytes.cast(), length as u32, 0) };
        if error == 0 { Ok(()) } else { Err(Reason::SkbError) }
    }

    /// Makes the packet one for whoever answers with the key `reversed`: writes the new header words and mends the
    /// transport checksum, whoever computes it.
    #[inline(always)]
    pub fn rewrite(&self, packet: &Packet, reversed: &FlowKey) -> Result<(), Reason> {
        // A UDP checksum of 0 means none, and must not become one (RFC 768).
        let keep_zero = if packet.is_tcp() { 0 } else { BPF_F_MARK_MANGLED_0 as u64 };
        let pseudo = keep_zero | BPF_F_PSEUDO_HDR as u64;
        let at = checksum_at(packet);
        let (is_mended, ports) = if packet.is_ipv6 {
            let new = rewrite::Ipv6::new(packet, reversed);
            self.store_at(rewrite::Ipv6::AT, new.words.as_ptr().cast(), size_of_val(&new.words))?;
            // Kernels that don't know the flag refuse the call before they touch the packet.
            let is_mended =
                self.mend(at, new.pseudo, pseudo | BPF_F_IPV6) || self.mend(at, new.pseudo, pseudo);
            (is_mended, new.ports)
        } else {
            let new = rewrite::Ipv4::new(packet, reversed);
            self.store_at(rewrite::Ipv4::AT, new.words.as_ptr().cast(), size_of_val(&new.words))?;
            (self.mend(at, new.pseudo, pseudo), new.ports)
        };
        // Frontends and endpoints often have the same port.
        if is_mended && (ports == 0 || self.mend(at, ports, keep_zero)) {
            Ok(())
        } else {
            Err(Reason::SkbError)
        }
    }

    #[inline(always)]
    fn mend(&self, offset: usize, delta: u32, flags: u64) -> bool {
        // SAFETY: the context is valid; size 0 takes the delta as it is.
        unsafe { bpf_l4_csum_replace(self.raw(), offset as u32, 0, delta as u64, flags) == 0 }
    }

    /// Sends the packet to `next_hop` through `ifindex`; the kernel finds or asks for the neighbour's address.
    #[inline(always)]
    pub fn redirect_to(&self, ifindex: u32, next_hop: [u64; 2], flags: u32) -> Verdict {
        // For fixtures that run without a wire: where the packet would go.
        self.leave(4, ifindex);
        if flags & device_flags::PEER != 0 {
            // SAFETY: a plain call; the kernel checks the device.
            return Verdict::Redirected(unsafe { bpf_redirect_peer(ifindex, 0) });
        }
        let neighbour = Neighbour::of(next_hop);
        // SAFETY: the parameters are on the stack and initialised.
        let answer = unsafe {
            let neighbour = (&raw const neighbour).cast_mut().cast();
            bpf_redirect_neigh(ifindex, neighbour, size_of::<bpf_redir_neigh>() as i32, 0)
        };
        Verdict::Redirected(answer)
    }

    /// Sends the frame out as it is: an answer, back to where its cause came from.
    #[inline(always)]
    pub fn send_back(&self) -> Verdict {
        self.send_out(self.ifindex())
    }

    /// Sends the frame out as it is.
    #[inline(always)]
    pub fn send_out(&self, ifindex: u32) -> Verdict {
        self.leave(4, ifindex);
        // SAFETY: a plain call.
        Verdict::Redirected(unsafe { bpf_redirect(ifindex, 0) })
    }
}

/// `struct bpf_redir_neigh` in words of 64 bits, as the kernel copies it.
#[repr(C)]
struct Neighbour([u64; 3]);
const _: () = assert!(size_of::<bpf_redir_neigh>() <= size_of::<Neighbour>());

impl Neighbour {
    #[inline(always)]
    fn of(next_hop: [u64; 2]) -> Self {
        let (family, address) = match unmapped(next_hop) {
            Some(ipv4) => (AF_INET, [ipv4 as u64, 0]),
            None => (AF_INET6, next_hop),
        };
        let [a, b] = address;
        Self([family as u64 | a << 32, a >> 32 | b << 32, b >> 32])
    }
}

impl Verdict {
    /// The program's return value.
    #[inline(always)]
    pub fn code(self) -> i32 {
        match self {
            // Others' programs still run, unlike with TC_ACT_OK.
            Self::Pass => TC_ACT_UNSPEC,
            Self::Drop(reason) => {
                crate::count::reason(reason);
                TC_ACT_SHOT
            }
            Self::Counted => TC_ACT_SHOT,
            Self::Redirected(answer) => answer as i32,
        }
    }
}

/// Bytes of the packet's linear part that were checked to be there.
pub struct PacketWindow(*const u8);

impl Frame for Skb {
    type Window = PacketWindow;

    #[inline(always)]
    fn window(&self, offset: usize, length: usize) -> Option<PacketWindow> {
        let start = self.ctx.data();
        if start + offset + length > self.ctx.data_end() {
            return None;
        }
        Some(PacketWindow((start + offset) as *const u8))
    }
}

impl Window for PacketWindow {
    // SAFETY of all three: the window was checked against data_end; the verifier proves it. x86 and arm64 read words
    // at any address in packets.
    #[inline(always)]
    fn u8(&self, at: usize) -> u8 {
        // SAFETY: see above.
        unsafe { *self.0.add(at) }
    }

    #[inline(always)]
    fn raw16(&self, at: usize) -> u16 {
        // SAFETY: see above.
        unsafe { *self.0.add(at).cast::<u16>() }
    }

    #[inline(always)]
    fn raw32(&self, at: usize) -> u32 {
        // SAFETY: see above.
        unsafe { *self.0.add(at).cast::<u32>() }
    }
}
