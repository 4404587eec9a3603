//! The judge on streams made by hand, and the script on the running kernel without any probe.

use std::sync::Arc;

use crate::lab::script::ScriptLab;
use crate::lab::surgeon::Rule;
use crate::lab::{KernelView, Lab, Progress};
use crate::stream::Mark;
use crate::trace::LabOptions;

struct NoProbes;

impl KernelView for NoProbes {
    fn asleep(&self, _pid: u32) -> bool {
        false
    }
    fn set_phase(&self, _phase: u32) {}
    fn operate(&self, _interface: &str) -> anyhow::Result<()> {
        Ok(())
    }
    fn set_rules(&self, _rules: &[Rule]) -> anyhow::Result<()> {
        Ok(())
    }
}

fn marks(variant: &str) -> Vec<(String, Vec<Mark>)> {
    let options = LabOptions {
        variants: vec![variant.to_owned()],
        ..LabOptions::default()
    };
    let plan = super::cases::Plan::new(&options).unwrap();
    let mut lab = ScriptLab::new(super::cases::cases(&plan).unwrap());
    let view: Arc<dyn KernelView> = Arc::new(NoProbes);
    let mut all = Vec::new();
    while let Some(mut scene) = lab.next(&view).expect("needs root") {
        scene.start().unwrap();
        while scene.poll().unwrap() != Progress::Done {
            std::thread::yield_now();
        }
        all.push((scene.label(), scene.marks()));
    }
    all
}

#[test]
fn show() {
    for (label, marks) in marks("") {
        println!("== {label}");
        for mark in marks {
            println!("   {} {} {}", mark.ktime, mark.name, mark.data);
        }
    }
}
