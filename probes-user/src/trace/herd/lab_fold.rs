//! The fold of a lab run: cuts the stream into scenes by their marks, then judges them.

use std::rc::Rc;

use super::crowd::Crowd;
use super::lab_ledger;
use super::marks::HerdMark;
use super::question::Question;
use super::scene::{Scene, SceneResult};
use super::scenes::Plan;
use super::stack::Classifier;
use super::timeline::Timeline;
use super::verdict;
use crate::evidence::Ledger;
use crate::stream::continuity::Gap;
use crate::stream::{Event, Item, Mark};
use crate::trace::{Context, Ending, Fold, Outcome};

/// Connections kept of those that come between scenes; they belong to nobody.
const LOBBY_CONNECTIONS: usize = 16;

pub struct LabFold {
    questions: &'static [Question],
    plan: Option<Plan>,
    classifier: Rc<Classifier>,
    /// Follows the tasks while no scene is under way.
    lobby: Crowd,
    scene: Option<Scene>,
    done: Vec<SceneResult>,
    connections: u64,
    timeline: Timeline,
    damaged_marks: u64,
    /// Scenes that were run again, by label.
    repeated: Vec<String>,
}

impl LabFold {
    pub fn new(questions: &'static [Question], context: &Context) -> LabFold {
        let classifier = Rc::new(Classifier::new(&context.symbols));
        LabFold {
            questions,
            plan: serde_json::from_value(context.options.clone()).ok(),
            lobby: Crowd::open(classifier.clone(), LOBBY_CONNECTIONS),
            classifier,
            scene: None,
            done: Vec::new(),
            connections: 0,
            timeline: Timeline::new(context.timeline),
            damaged_marks: 0,
            repeated: Vec::new(),
        }
    }

    fn mark(&mut self, mark: &Mark) {
        match Gap::from_mark(mark) {
            Ok(Some(gap)) => {
                if let Some(scene) = &mut self.scene {
                    scene.gap(gap, mark.ktime);
                }
                return;
            }
            Ok(None) => {}
            Err(_) => self.damaged_marks += 1,
        }
        match HerdMark::from_mark(mark) {
            Ok(Some(HerdMark::Scene(scene))) => {
                self.close(None);
                let empty = Crowd::open(self.classifier.clone(), LOBBY_CONNECTIONS);
                let lobby = std::mem::replace(&mut self.lobby, empty);
                self.scene = Some(Scene::new(
                    scene,
                    lobby,
                    self.classifier.clone(),
                    self.connections,
                ));
            }
            Ok(Some(HerdMark::Connect(connect))) => {
                if let Some(scene) = &mut self.scene {
                    scene.connect(mark.ktime, connect, &mut self.timeline);
                }
            }
            Ok(Some(HerdMark::Account(account))) => {
                if let Some(scene) = &mut self.scene {
                    scene.account(&account);
                }
            }
            Ok(Some(HerdMark::SceneEnd(end))) => {
                if self
                    .scene
                    .as_ref()
                    .is_some_and(|scene| scene.number() == end.scene)
                {
                    self.close(Some(end));
                }
            }
            Ok(_) => {}
            Err(_) => self.damaged_marks += 1,
        }
    }

    fn close(&mut self, end: Option<super::marks::SceneEndMark>) {
        if let Some(scene) = self.scene.take() {
            self.connections = scene.connections_so_far();
            self.timeline.end();
            let result = scene.close(end);
            // Run again: the last run counts, whatever the earlier one showed.
            let before = self.done.len();
            self.done
                .retain(|other| !other.is(result.mark.variant, result.mark.arrival));
            if self.done.len() < before {
                self.repeated.push(result.label());
            }
            self.done.push(result);
        }
    }

    fn event(&mut self, event: &Event) {
        match &mut self.scene {
            Some(scene) => scene.event(event, &mut self.timeline),
            None => self.lobby.event(event, &mut Timeline::default()),
        }
    }

    /// Drawn with the workers' positions, not their pids.
    fn drawn(&self) -> Vec<String> {
        let workers = self.done.iter().flat_map(|scene| &scene.workers);
        let names: std::collections::BTreeMap<u32, String> = workers
            .map(|worker| {
                (
                    worker.pid,
                    worker
                        .index
                        .map_or_else(String::new, |index| format!("worker {index}")),
                )
            })
            .collect();
        self.timeline
            .draw(|pid| names.get(&pid).cloned().unwrap_or_else(|| pid.to_string()))
    }
}

impl Fold for LabFold {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.event(event),
            Item::Mark(mark) => self.mark(mark),
        }
    }

    fn interim(&self) -> Ledger {
        lab_ledger::ledger(&self.done)
    }

    fn finish(mut self: Box<Self>, ending: &Ending) -> Outcome {
        self.close(None);
        let findings = verdict::judge(self.questions, &self.done, self.plan.as_ref(), ending);
        let mut ledger = lab_ledger::ledger(&self.done);
        if self.damaged_marks > 0 {
            ledger.remarks.push(format!(
                "marks that could not be read: {}",
                self.damaged_marks
            ));
        }
        if findings.is_empty() && self.plan.is_some() {
            ledger
                .remarks
                .push("no claim rests on the chosen scenes: numbers only".to_owned());
        }
        if !self.repeated.is_empty() {
            ledger.remarks.push(format!(
                "run again because events of a worker were missing: {}",
                self.repeated.join(", ")
            ));
        }
        ledger.timeline = self.drawn();
        Outcome { findings, ledger }
    }
}
