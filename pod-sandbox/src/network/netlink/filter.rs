//! Traffic control: a classic BPF program that judges what comes in by an interface (`linux/pkt_sched.h`, `linux/pkt_cls.h`).

use std::io;

use rustix::io::Errno;

use super::message::{Message, NLM_F_CREATE, NLM_F_EXCL};
use super::{Socket, errno};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's result is the verdict, and no action is looked up for it.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const PREFERENCE: u32 = 1;
const ETH_P_ALL: u16 = 3;

/// Go on: what other filters say of the packet holds.
pub(crate) const TC_ACT_UNSPEC: u32 = u32::MAX;
/// The packet is dropped.
pub(crate) const TC_ACT_SHOT: u32 = 2;

/// One instruction of classic BPF: `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) k: u32,
}

/// Every packet that comes in by the interface is judged by the program. One that is there already is replaced.
pub(crate) fn judge_ingress(socket: &mut Socket, index: u32, program: &[Instruction]) -> io::Result<()> {
    let qdisc =
        Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header(index, CLSACT_HANDLE, CLSACT, 0));
    match socket.request(qdisc.text(TCA_KIND, "clsact")) {
        Err(error) if errno(&error) == Some(Errno::EXIST) => {}
        result => result?,
    }
    let info = PREFERENCE << 16 | u32::from(ETH_P_ALL.to_be());
    let instructions: Vec<u8> = program.iter().flat_map(Instruction::bytes).collect();
    let count = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let filter = Message::new(RTM_NEWTFILTER, NLM_F_CREATE, &header(index, 1, INGRESS, info));
    socket.request(filter.text(TCA_KIND, "bpf").nest(TCA_OPTIONS, |options| {
        options
            .bytes(TCA_BPF_OPS_LEN, &count.to_ne_bytes())
            .bytes(TCA_BPF_OPS, &instructions)
            .u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT)
    }))
}

impl Instruction {
    fn bytes(&self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [c0, c1, self.jump_true, self.jump_false, k0, k1, k2, k3]
    }
}

/// `struct tcmsg`.
fn header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut header = [0; 20];
    for (place, value) in header[4..].chunks_exact_mut(4).zip([index, handle, parent, info]) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    header
}
