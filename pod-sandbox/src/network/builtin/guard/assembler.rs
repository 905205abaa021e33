//! Classic BPF with names in place of distances (`linux/bpf_common.h`, `linux/filter.h`). All jumps go forward.

use super::super::super::netlink::filter::{Instruction, TC_ACT_SHOT, TC_ACT_UNSPEC};

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_LENGTH: u16 = 0x80;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// What is not in the packet is loaded from beyond this (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
const VLAN_TAG_PRESENT: u32 = 48;

/// Where a branch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goto {
    /// The next instruction.
    Next,
    /// The first instruction behind this label.
    Label(&'static str),
    Pass,
    Drop,
}

/// A program under construction. A load beyond a frame's end would let it pass: [`Assembler::at_least`] comes before.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    steps: Vec<Step>,
    labels: Vec<(&'static str, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Load(u16, u32),
    Branch(u16, u32, Goto, Goto),
    Return(u32),
}

impl Assembler {
    pub(super) fn word(&mut self, offset: u32) {
        self.steps.push(Step::Load(LOAD_WORD, offset));
    }

    pub(super) fn half(&mut self, offset: u32) {
        self.steps.push(Step::Load(LOAD_HALF, offset));
    }

    pub(super) fn byte(&mut self, offset: u32) {
        self.steps.push(Step::Load(LOAD_BYTE, offset));
    }

    /// Loads 1 if the frame has a VLAN tag, else 0.
    pub(super) fn vlan_tag_present(&mut self) {
        self.byte(ANCILLARY + VLAN_TAG_PRESENT);
    }

    /// Compares what was loaded last.
    pub(super) fn branch_equal(&mut self, value: u32, then: Goto, otherwise: Goto) {
        self.steps.push(Step::Branch(JUMP_EQUAL, value, then, otherwise));
    }

    /// Frames of fewer bytes are dropped.
    pub(super) fn at_least(&mut self, bytes: u32) {
        self.steps.push(Step::Load(LOAD_LENGTH, 0));
        self.steps.push(Step::Branch(JUMP_AT_LEAST, bytes, Goto::Next, Goto::Drop));
    }

    pub(super) fn drop(&mut self) {
        self.steps.push(Step::Return(TC_ACT_SHOT));
    }

    pub(super) fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.steps.len()));
    }

    /// The program, with what all branches to `Pass` and to `Drop` go to at its end.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        let pass = self.steps.len();
        self.steps.push(Step::Return(TC_ACT_UNSPEC));
        self.drop();
        let instruction = |(at, step): (usize, &Step)| match *step {
            Step::Load(code, k) => Instruction { code, jump_true: 0, jump_false: 0, k },
            Step::Return(k) => Instruction { code: RETURN, jump_true: 0, jump_false: 0, k },
            Step::Branch(code, k, then, otherwise) => Instruction {
                code,
                jump_true: self.distance(at, then, pass),
                jump_false: self.distance(at, otherwise, pass),
                k,
            },
        };
        self.steps.iter().enumerate().map(instruction).collect()
    }

    fn distance(&self, from: usize, to: Goto, pass: usize) -> u8 {
        let to = match to {
            Goto::Next => from + 1,
            Goto::Pass => pass,
            Goto::Drop => pass + 1,
            Goto::Label(name) => {
                let label = self.labels.iter().find(|(label, _)| *label == name);
                label.expect("every label that is gone to is set").1
            }
        };
        u8::try_from(to - from - 1).expect("a guard has fewer than 256 instructions")
    }
}
