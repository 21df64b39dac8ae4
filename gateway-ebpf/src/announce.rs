//! Sends the frame that it is run on out of its device. The agent runs it by `BPF_PROG_TEST_RUN` on announcements of pool
//! addresses: a packet socket would need CAP_NET_RAW for the same.

use aya_ebpf::helpers::generated::bpf_clone_redirect;

use crate::skb::Skb;

/// 0, or what the kernel says is wrong, negative.
#[inline(always)]
pub fn process(skb: &Skb) -> i32 {
    // SAFETY: the context is valid; the clone is the kernel's.
    unsafe { bpf_clone_redirect(skb.raw(), skb.ifindex(), 0) as i32 }
}
