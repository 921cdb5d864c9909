//! Captions in natural English, made from the scene graph.
//!
//! A caption says the class word with the trigger `img` right after it, and then what is to be seen: action, expression,
//! clothes, place, light, camera. It says nothing of what the person looks like (hair, skin, beard, glasses, age beyond
//! the group): that must come from the reference photo.

mod phrases;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::graph::SceneGraph;
use crate::motion::{Action, CameraMove, Facing};
use crate::scene::{Group, NamedColour, Place};

/// A caption; the seed chooses the words.
///
/// # Examples
/// ```
/// use magicmirror_people::captions::caption;
/// use magicmirror_people::graph::{Choices, SceneGraph};
/// use magicmirror_people::scene::Group;
/// let graph = SceneGraph::picture(Group::Woman, &Choices::default(), 3);
/// assert!(caption(&graph, 1).to_lowercase().contains("a woman img"));
/// ```
pub fn caption(graph: &SceneGraph, seed: u64) -> String {
    let mut words = Words { graph, random: ChaCha8Rng::seed_from_u64(seed) };
    let text = words.sentences();
    words.finish(&text)
}

/// The colour of the plain backdrop that a prompt asks for in the words of a [`caption`].
///
/// # Examples
/// ```
/// use magicmirror_people::{captions::backdrop_colour, scene::NamedColour};
/// assert_eq!(backdrop_colour("A man in a red shirt in front of a blue wall."), Some(NamedColour::Blue));
/// assert_eq!(backdrop_colour("A man in a red shirt on a beach."), None);
/// ```
pub fn backdrop_colour(prompt: &str) -> Option<NamedColour> {
    let prompt = prompt.to_lowercase();
    NamedColour::ALL.into_iter().find(|&colour| {
        let phrases = phrases::place(Place::Plain(colour));
        phrases.iter().any(|phrase| prompt.contains(&coloured(phrase, colour)))
    })
}

/// The action that a prompt asks for in the words of a [`caption`].
///
/// # Examples
/// ```
/// use magicmirror_people::{captions::action, motion::Action};
/// assert_eq!(action("A woman raises her head up in a park."), Some(Action::LookUp));
/// assert_eq!(action("A woman raises her head in a park."), Some(Action::LookUp));
/// assert_eq!(action("A woman raises her eyebrows in a park."), Some(Action::RaiseBrows));
/// assert_eq!(action("A woman in a park."), None);
/// ```
pub fn action(prompt: &str) -> Option<Action> {
    let words = |text: &str| -> String {
        let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
        words.flat_map(|word| [" ", word]).chain([" "]).collect::<String>().to_lowercase()
    };
    let prompt = words(prompt);
    let said = |phrase: &str| {
        ["his", "her", "its"].iter().any(|whose| prompt.contains(&words(&phrase.replace("{their}", whose))))
    };
    // "Turning her head one way and then the other" has "turning her head" in it: the most that is said counts.
    let length = |action| {
        let phrases = phrases::action(action).iter().chain(phrases::action_in_other_words(action));
        let forms = phrases.flat_map(|(doing, does)| [doing, does]);
        forms.filter(|phrase| said(phrase)).map(|phrase| phrase.len()).max()
    };
    let actions = Action::ALL.into_iter().filter_map(|action| Some((length(action)?, action)));
    actions.max_by_key(|(length, _)| *length).map(|(_, action)| action)
}

struct Words<'a> {
    graph: &'a SceneGraph,
    random: ChaCha8Rng,
}

impl Words<'_> {
    fn sentences(&mut self) -> String {
        let subject = self.subject();
        let [place, light, clothes] =
            [(0.9, Self::place as fn(&mut Self) -> String), (0.75, Self::light), (0.85, Self::clothes)]
                .map(|(odds, part)| if self.random.random_bool(odds) { part(self) } else { String::new() });
        let dressed = if clothes.is_empty() {
            String::new()
        } else {
            format!("{} {clothes}", self.any(&["wearing", "in", "dressed in"]))
        };
        let wears = if clothes.is_empty() { String::new() } else { format!("{} wears {clothes}.", self.he()) };
        let (doing, does, expression) = (self.doing(), self.does(), self.expression());
        let camera = self.camera();
        match self.random.random_range(0..6) {
            0 => join([
                &format!("{} of {subject}", self.opening()),
                &doing,
                &expression,
                &place,
                ",",
                &dressed,
                ",",
                &light,
                ".",
                &camera,
            ]),
            1 => join([&subject, &does, &expression, &place, ",", &light, ".", &wears, &camera]),
            2 => join([&place, ",", &subject, &does, &expression, ",", &dressed, ",", &light, ".", &camera]),
            3 => join([&light, ",", &subject, &dressed, &does, &expression, &place, ".", &camera]),
            4 => join([&subject, &dressed, ",", &doing, &expression, &place, ",", &light, ".", &camera]),
            _ => join([
                &format!("{} of {subject}", self.opening()),
                &place,
                ",",
                &light,
                ".",
                &self.he(),
                &does,
                &expression,
                ".",
                &wears,
                &camera,
            ]),
        }
    }

    /// Case and stop vary as they do in people's prompts.
    fn finish(&mut self, text: &str) -> String {
        if self.random.random_bool(0.25) {
            let text = text.to_lowercase();
            return text.strip_suffix('.').map_or(text.clone(), str::to_owned);
        }
        let mut start = true;
        text.chars()
            .map(|character| {
                let upper = start && character.is_alphabetic();
                start = (start && !upper) || character == '.';
                if upper { character.to_ascii_uppercase() } else { character }
            })
            .collect()
    }

    fn subject(&mut self) -> String {
        let group = self.graph.group;
        match group {
            Group::ElderlyMan | Group::ElderlyWoman => format!("an elderly {} img", group.class_word()),
            _ => format!("a {} img", group.class_word()),
        }
    }

    fn he(&self) -> String {
        match self.graph.group {
            Group::Man | Group::ElderlyMan | Group::Boy => "he",
            Group::Woman | Group::ElderlyWoman | Group::Girl => "she",
            Group::Baby => "the baby",
        }
        .to_owned()
    }

    fn with_possessive(&self, phrase: &str) -> String {
        phrase.replace(
            "{their}",
            match self.graph.group {
                Group::Man | Group::ElderlyMan | Group::Boy => "his",
                Group::Woman | Group::ElderlyWoman | Group::Girl => "her",
                Group::Baby => "its",
            },
        )
    }

    fn opening(&mut self) -> &'static str {
        let framing = phrases::framing(self.graph.framing);
        let kind = if self.graph.action.is_some() { phrases::CLIP } else { phrases::PICTURE };
        let choices = if self.random.random_bool(0.5) { framing } else { kind };
        self.any(choices)
    }

    /// The action in the form that follows the subject: "nodding".
    fn doing(&mut self) -> String {
        let doing = self.act().0;
        self.with_possessive(doing) + self.turned()
    }

    /// The action in the form that makes a sentence: "is nodding", "nods".
    fn does(&mut self) -> String {
        let (doing, does) = self.act();
        let act = if self.graph.action.is_some() && self.random.random_bool(0.4) {
            format!("is {doing}")
        } else {
            does.to_owned()
        };
        self.with_possessive(&act) + self.turned()
    }

    fn act(&mut self) -> (&'static str, &'static str) {
        let choices = match self.graph.action {
            Some(action) => phrases::action(action),
            None => phrases::facing(self.graph.facing),
        };
        *choices.choose(&mut self.random).expect("there are phrases")
    }

    /// In a clip, where the person is turned beside the action.
    fn turned(&mut self) -> &'static str {
        match (self.graph.action, self.graph.facing) {
            (Some(_), Facing::Left) => self.any(&[", turned to the left", ", facing left"]),
            (Some(_), Facing::Right) => self.any(&[", turned to the right", ", facing right"]),
            _ => "",
        }
    }

    fn expression(&mut self) -> String {
        // What the face does in an action has been said already.
        if self.graph.action.is_some_and(Action::moves_face) {
            return String::new();
        }
        let phrase = self.any(phrases::expression(self.graph.expression));
        self.with_possessive(phrase)
    }

    fn place(&mut self) -> String {
        let place = self.graph.background.place;
        let phrase = self.any(phrases::place(place));
        match place {
            Place::Plain(colour) => coloured(phrase, colour),
            _ => phrase.to_owned(),
        }
    }

    fn light(&mut self) -> String {
        self.any(phrases::lighting(self.graph.lighting)).to_owned()
    }

    fn clothes(&mut self) -> String {
        let SceneGraph { outfit, hat, .. } = *self.graph;
        let garment = self.any(phrases::garment(outfit.garment));
        let mut clothes = with_article(&format!("{} {garment}", phrases::colour(outfit.colour)));
        if let Some(hat) = hat {
            let kind = self.any(phrases::hat(hat.kind));
            clothes = format!("{clothes} and {}", with_article(&format!("{} {kind}", phrases::colour(hat.colour))));
        }
        clothes
    }

    fn camera(&mut self) -> String {
        let camera_move = self.graph.camera_move.unwrap_or(CameraMove::Still);
        if self.graph.camera_move.is_none() || (camera_move == CameraMove::Still && self.random.random_bool(0.6)) {
            return String::new();
        }
        self.any(phrases::camera_move(camera_move)).to_owned() + "."
    }

    fn any(&mut self, choices: &[&'static str]) -> &'static str {
        choices.choose(&mut self.random).expect("there are phrases")
    }
}

/// A phrase about something of this colour.
fn coloured(phrase: &str, colour: NamedColour) -> String {
    let colour = phrases::colour(colour);
    phrase.replace("{colour}", colour).replace("{a colour}", &with_article(colour))
}

/// "a red sweater", "an orange one".
fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// Puts parts together: spaces between words, one mark where several meet, none at the start.
fn join<const N: usize>(parts: [&str; N]) -> String {
    let mut text = String::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        match part {
            "," | "." => {
                if text.is_empty() || text.ends_with('.') {
                    continue;
                }
                if text.ends_with(',') {
                    text.pop();
                }
                text.push_str(part);
            }
            _ => {
                if !text.is_empty() && !part.starts_with(',') {
                    text.push(' ');
                }
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
