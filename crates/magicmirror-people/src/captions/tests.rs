//! Captions are read back word by word: each word is known here, and what it claims is so.

use std::collections::BTreeSet;

use super::*;
use crate::graph::Choices;
use crate::motion::{Expression, Framing};
use crate::scene::{Garment, HatKind, Lighting, NamedColour};

fn captioned() -> impl Iterator<Item = (SceneGraph, String)> {
    (0..8000u64).map(|seed| {
        let group = Group::ALL[(seed / 2 % 7) as usize];
        let scene = if seed % 2 == 0 { SceneGraph::picture } else { SceneGraph::clip };
        let graph = scene(group, &Choices::default(), seed);
        (graph, caption(&graph, seed + 9))
    })
}

/// What a word of a caption may claim.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Claim {
    Group(Group),
    Action(Action),
    Expression(Expression),
    Facing(Facing),
    Framing(Framing),
    Place(Where),
    Light(Lighting),
    Garment(Garment),
    Hat(HatKind),
    Moving,
    Still,
}

/// Places, the colour left out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Plain,
    At(Place),
}

use Claim::{
    Action as A, Expression as E, Facing as F, Framing as R, Garment as G, Group as P, Hat as H, Light as L, Place as S,
};
use Where::{At, Plain};

/// Words that claim something; several claims of one word: any of them.
const WORDS: &[(&str, &[Claim])] = &[
    ("man", &[P(Group::Man), P(Group::ElderlyMan)]),
    ("woman", &[P(Group::Woman), P(Group::ElderlyWoman)]),
    ("elderly", &[P(Group::ElderlyMan), P(Group::ElderlyWoman)]),
    ("boy", &[P(Group::Boy)]),
    ("girl", &[P(Group::Girl)]),
    ("baby its", &[P(Group::Baby)]),
    ("he his", &[P(Group::Man), P(Group::ElderlyMan), P(Group::Boy)]),
    ("she her", &[P(Group::Woman), P(Group::ElderlyWoman), P(Group::Girl)]),
    ("photo photograph picture snapshot", &[Claim::Still]),
    ("video clip footage short brief", &[Claim::Moving]),
    ("close-up", &[R(Framing::CloseUp), R(Framing::Bust)]),
    ("tight close", &[R(Framing::CloseUp)]),
    ("head-and-shoulders", &[R(Framing::Portrait)]),
    ("bust half-length medium", &[R(Framing::Bust)]),
    ("left", &[A(Action::TurnLeft), F(Facing::Left)]),
    ("right", &[A(Action::TurnRight), F(Facing::Right)]),
    ("turning turns", &[A(Action::TurnLeft), A(Action::TurnRight), A(Action::LookAround)]),
    ("turned", &[F(Facing::Left), F(Facing::Right)]),
    ("three-quarter", &[F(Facing::Left), F(Facing::Right)]),
    ("glancing glances", &[A(Action::TurnLeft), A(Action::TurnRight)]),
    ("around way then", &[A(Action::LookAround)]),
    (
        "looking looks",
        &[
            A(Action::LookAround),
            A(Action::LookUp),
            A(Action::LookDown),
            A(Action::TurnLeft),
            A(Action::TurnRight),
            A(Action::Surprise),
        ],
    ),
    ("gazing gazes", &[A(Action::LookUp), A(Action::LookDown)]),
    ("up", &[A(Action::LookUp), A(Action::PuffCheeks)]),
    ("raising raises", &[A(Action::LookUp), A(Action::RaiseBrows)]),
    ("lifting lifts", &[A(Action::LookUp), A(Action::RaiseBrows)]),
    ("chin", &[A(Action::LookUp), F(Facing::Up)]),
    ("upwards", &[F(Facing::Up)]),
    ("raised high holding holds", &[F(Facing::Up), A(Action::HoldStill)]),
    ("down lowering lowers bowing bows", &[A(Action::LookDown)]),
    ("downwards", &[F(Facing::Down)]),
    ("lowered bowed", &[F(Facing::Down)]),
    ("still hardly quiet staying stays calmly", &[A(Action::HoldStill)]),
    ("posing poses", &[A(Action::HoldStill), F(Facing::Camera)]),
    ("viewer", &[F(Facing::Camera), A(Action::LeanForward)]),
    ("camera", &[F(Facing::Camera)]),
    ("forward", &[F(Facing::Camera), A(Action::LeanForward)]),
    ("nodding nods agreement yes saying", &[A(Action::Nod)]),
    ("says", &[A(Action::Nod)]),
    ("shaking shakes shake no say refuses refusing", &[A(Action::ShakeHead)]),
    ("tilting tilts cocking cocks", &[A(Action::TiltHead)]),
    ("leaning leans", &[A(Action::TiltHead), A(Action::LeanForward)]),
    ("nearer coming comes bending bends", &[A(Action::LeanForward)]),
    ("swaying sways rocking rocks gently rhythm", &[A(Action::Sway)]),
    ("moving moves", &[A(Action::Sway), A(Action::HoldStill)]),
    ("beaming beams joy", &[A(Action::Smile)]),
    ("breaking breaks", &[A(Action::Smile)]),
    ("beginning begins", &[A(Action::Smile)]),
    ("starting starts", &[A(Action::Smile), A(Action::Frown), A(Action::Pout)]),
    ("smile", &[A(Action::Smile), E(Expression::Smile), E(Expression::Grin), E(Expression::Smirk)]),
    ("grin", &[A(Action::Smile), E(Expression::Grin)]),
    ("broad toothy happy bright", &[E(Expression::Grin), L(Lighting::BrightSun)]),
    ("friendly content", &[E(Expression::Smile)]),
    ("gentle", &[E(Expression::Smile), L(Lighting::SoftDaylight)]),
    ("warm", &[E(Expression::Smile), L(Lighting::Lamplight)]),
    ("smirk crooked sly lopsided", &[E(Expression::Smirk)]),
    ("laughing laughs laughter loud bursting bursts happily", &[A(Action::Laugh)]),
    ("talking talks speaking speaks telling tells story chats chatting somebody", &[A(Action::Talk)]),
    ("singing sings song tune", &[A(Action::Sing)]),
    ("slow", &[A(Action::Sing), A(Action::Sway)]),
    ("slowly", &[A(Action::Sing), A(Action::Blink)]),
    ("surprise astonished", &[A(Action::Surprise), E(Expression::Surprise)]),
    ("surprised mouth", &[E(Expression::Surprise)]),
    ("gasping gasps amazed suddenly becomes becoming reacting reacts", &[A(Action::Surprise)]),
    ("blinking blinks again", &[A(Action::Blink)]),
    ("frown", &[A(Action::Frown), E(Expression::Frown)]),
    ("angry", &[A(Action::Frown), E(Expression::Frown)]),
    ("frowning frowns scowling scowls growing grows", &[A(Action::Frown)]),
    ("grim stern", &[E(Expression::Frown)]),
    ("sad unhappy sorrowful", &[E(Expression::Sadness)]),
    ("winking winks wink playful once", &[A(Action::Wink)]),
    ("pout", &[A(Action::Pout), E(Expression::Pout)]),
    ("pouting pouts sulking sulks pushing pushes", &[A(Action::Pout)]),
    ("lips", &[A(Action::Pout), E(Expression::Pout)]),
    ("pursed sulky", &[E(Expression::Pout)]),
    ("eyebrows wiggling wiggles", &[A(Action::RaiseBrows)]),
    ("both", &[A(Action::RaiseBrows), A(Action::PuffCheeks)]),
    ("yawning yawns yawn widely sleepily", &[A(Action::Yawn)]),
    ("giving gives", &[A(Action::Yawn), A(Action::Wink)]),
    ("big", &[A(Action::Yawn), E(Expression::Grin)]),
    ("puffing puffs cheeks blowing blows filling fills air", &[A(Action::PuffCheeks)]),
    ("calm neutral relaxed", &[E(Expression::Neutral)]),
    ("plain simple backdrop background wall", &[S(Plain)]),
    ("living room indoors", &[S(At(Place::LivingRoom))]),
    ("home", &[S(At(Place::LivingRoom)), S(At(Place::Kitchen))]),
    ("kitchen tiled", &[S(At(Place::Kitchen))]),
    ("office work desk", &[S(At(Place::Office))]),
    ("library books bookshelves full", &[S(At(Place::Library))]),
    ("sky beneath clouds cloudy only", &[S(At(Place::Sky))]),
    ("park trees grass leafy", &[S(At(Place::Park))]),
    ("outdoors", &[S(At(Place::Park)), S(At(Place::Mountains))]),
    ("among", &[S(At(Place::Park)), S(At(Place::Library))]),
    ("street houses town outside", &[S(At(Place::Street))]),
    ("beach sea seaside ocean sandy", &[S(At(Place::Beach))]),
    ("mountains snowy alpine landscape", &[S(At(Place::Mountains))]),
    ("city", &[S(At(Place::NightCity)), S(At(Place::Street))]),
    ("night downtown lights", &[S(At(Place::NightCity))]),
    ("daylight even diffuse natural soft", &[L(Lighting::SoftDaylight)]),
    ("sunlight sunshine blazing strong", &[L(Lighting::BrightSun)]),
    ("sunset golden hour setting", &[L(Lighting::Sunset)]),
    ("window falls through", &[L(Lighting::Window)]),
    ("studio professional", &[L(Lighting::Studio)]),
    ("lamps", &[L(Lighting::Studio), L(Lighting::Lamplight)]),
    ("lamplight dim", &[L(Lighting::Lamplight)]),
    ("moonlight moon pale cold", &[L(Lighting::Moonlight)]),
    ("neon signs colourful", &[L(Lighting::Neon)]),
    ("glow", &[L(Lighting::Neon), L(Lighting::Sunset)]),
    ("sun", &[L(Lighting::BrightSun), L(Lighting::Sunset), H(HatKind::SunHat)]),
    ("t-shirt tee short-sleeved", &[G(Garment::TShirt)]),
    ("shirt", &[G(Garment::Shirt), G(Garment::Jacket)]),
    ("button-up collared", &[G(Garment::Shirt)]),
    ("sweater", &[G(Garment::Sweater), G(Garment::Turtleneck)]),
    ("pullover jumper", &[G(Garment::Sweater)]),
    ("knitted", &[G(Garment::Sweater), H(HatKind::Beanie)]),
    ("turtleneck roll-neck", &[G(Garment::Turtleneck)]),
    ("hoodie hooded sweatshirt", &[G(Garment::Hoodie)]),
    ("jacket", &[G(Garment::Jacket)]),
    ("over", &[G(Garment::Jacket), A(Action::TurnLeft), A(Action::TurnRight)]),
    ("tank sleeveless top", &[G(Garment::TankTop)]),
    ("dress wide-necked", &[G(Garment::Dress)]),
    ("beanie woolly", &[H(HatKind::Beanie)]),
    ("cap", &[H(HatKind::Beanie), H(HatKind::Cap)]),
    ("baseball peaked", &[H(HatKind::Cap)]),
    ("hat", &[H(HatKind::SunHat), H(HatKind::PartyHat), H(HatKind::Beanie)]),
    ("wide-brimmed brim", &[H(HatKind::SunHat)]),
    ("wide", &[H(HatKind::SunHat), E(Expression::Grin)]),
    ("party paper pointed", &[H(HatKind::PartyHat)]),
    ("open", &[S(At(Place::Sky)), E(Expression::Surprise)]),
];

/// Words that claim nothing by themselves.
const PLAIN_WORDS: &str = "a an the of in on at by to with and is are img has for from under against before front behind \
    into towards wearing wears dressed facing faces face seen expression look head side sides view shot light lighting \
    lit portrait that out other one";

/// The whole last sentence of some captions: what the camera does.
const CAMERA: &[(CameraMove, &str)] = &[
    (CameraMove::Still, "still not fixed static"),
    (CameraMove::ZoomIn, "zooms+in zoom+in"),
    (CameraMove::ZoomOut, "zooms+out zoom+out"),
    (CameraMove::PushIn, "pushes+in moves+closer approaches dolly+in"),
    (CameraMove::PullBack, "pulls+back moves+away retreats dolly+out"),
    (CameraMove::PanLeft, "pans+left moves+left slides+left"),
    (CameraMove::PanRight, "pans+right moves+right slides+right"),
    (CameraMove::Rise, "rises moves+up goes+upwards"),
    (CameraMove::Sink, "sinks moves+down goes+downwards"),
    (CameraMove::HandHeld, "handheld shakes hand"),
];

impl Claim {
    fn holds(self, graph: &SceneGraph) -> bool {
        match self {
            P(group) => graph.group == group,
            A(action) => graph.action == Some(action),
            E(expression) => graph.expression == expression,
            F(facing) => graph.facing == facing,
            R(framing) => graph.framing == framing,
            S(Plain) => matches!(graph.background.place, Place::Plain(_)),
            S(At(place)) => graph.background.place == place,
            L(lighting) => graph.lighting == lighting,
            G(garment) => graph.outfit.garment == garment,
            H(kind) => graph.hat.is_some_and(|hat| hat.kind == kind),
            Claim::Moving => graph.action.is_some(),
            Claim::Still => graph.action.is_none(),
        }
    }
}

#[test]
fn the_action_is_read_from_the_caption() {
    for (graph, caption) in captioned() {
        assert_eq!(action(&caption), graph.action, "{caption}");
    }
}

fn claims(word: &str) -> &'static [Claim] {
    WORDS.iter().find(|(words, _)| words.split(' ').any(|known| known == word)).map_or(&[], |(_, claims)| *claims)
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase().split_whitespace().map(|word| word.trim_matches(['.', ',']).to_owned()).collect()
}

/// Splits off the sentence about the camera.
fn split(caption: &str) -> (Vec<String>, Option<Vec<String>>) {
    const STARTS: [&str; 6] = ["the camera", "slow zoom", "a slow dolly", "a fixed shot", "static", "handheld"];
    match caption.strip_suffix('.').unwrap_or(caption).rsplit_once(". ") {
        Some((body, last)) if STARTS.iter().any(|start| last.to_lowercase().starts_with(start)) => {
            (words(body), Some(words(last)))
        }
        _ => (words(caption), None),
    }
}

#[test]
fn every_word_is_known_and_every_claim_is_true() {
    for (graph, caption) in captioned() {
        let (body, camera) = split(&caption);
        for (index, word) in body.iter().enumerate() {
            if let Some(colour) = NamedColour::ALL.into_iter().find(|colour| phrases::colour(*colour) == word) {
                assert!(colour_holds(colour, &body[index + 1..], &graph), "{word}: {caption}\n{graph:?}");
                continue;
            }
            let claims = claims(word);
            assert!(
                !claims.is_empty() || PLAIN_WORDS.split_whitespace().any(|known| known == word),
                "{word}: {caption}"
            );
            assert!(
                claims.is_empty() || claims.iter().any(|claim| claim.holds(&graph)),
                "{word}: {caption}\n{graph:?}"
            );
        }
        match camera {
            Some(sentence) => {
                let said = CAMERA.iter().filter(|(_, cues)| {
                    cues.split(' ').any(|cue| cue.split('+').all(|part| sentence.iter().any(|word| word == part)))
                });
                let said: Vec<_> = said.map(|(camera_move, _)| *camera_move).collect();
                assert_eq!(said, [graph.camera_move.unwrap()], "{caption}");
            }
            None => assert!(matches!(graph.camera_move, None | Some(CameraMove::Still)), "{caption}"),
        }
    }
}

/// A colour belongs to the next noun that has one.
fn colour_holds(colour: NamedColour, following: &[String], graph: &SceneGraph) -> bool {
    following
        .iter()
        .find_map(|word| match word.as_str() {
            "backdrop" | "background" | "wall" => Some(graph.background.place == Place::Plain(colour)),
            "beanie" | "cap" | "hat" => Some(graph.hat.is_some_and(|hat| hat.colour == colour)),
            "t-shirt" | "tee" | "shirt" | "sweater" | "pullover" | "jumper" | "turtleneck" | "roll-neck" | "hoodie"
            | "sweatshirt" | "jacket" | "top" | "dress" => Some(graph.outfit.colour == colour),
            _ => None,
        })
        .unwrap_or(false)
}

#[test]
fn action_expression_and_group_are_always_said() {
    for (graph, caption) in captioned() {
        let said = |claim: Claim| words(&caption).iter().any(|word| claims(word).contains(&claim));
        assert!(said(P(graph.group)), "{caption}");
        match graph.action {
            Some(action) => assert!(said(A(action)), "{action:?}: {caption}"),
            None => assert!(said(F(graph.facing)) || graph.facing == Facing::Camera, "{caption}"),
        }
        let face_is_busy = graph.action.is_some_and(Action::moves_face);
        if graph.expression != Expression::Neutral && !face_is_busy {
            assert!(said(E(graph.expression)), "{caption}");
        }
    }
}

#[test]
fn the_class_word_has_the_one_trigger_right_after_it() {
    for (graph, caption) in captioned() {
        let words: Vec<&str> = caption.split(' ').collect();
        let triggers: Vec<usize> =
            (0..words.len()).filter(|&index| words[index].trim_end_matches(['.', ',']) == "img").collect();
        assert_eq!(triggers.len(), 1, "{caption}");
        assert_eq!(words[triggers[0] - 1], graph.group.class_word(), "{caption}");
    }
}

#[test]
fn looks_are_never_said() {
    const LOOKS: &str = "hair haired hairstyle blond blonde brunette redhead ginger bald balding beard bearded moustache \
        mustache goatee stubble shaven glasses spectacles eyeglasses earring earrings eye eyes iris skin skinned tan pale-skinned \
        freckles freckled wrinkles wrinkled mole face-shape young old middle-aged aged teenage year-old years tall thin slim fat \
        heavy asian african european caucasian indian latin ethnic curly ponytail braids bun bob fringe afro";
    let forbidden: BTreeSet<&str> = LOOKS.split_whitespace().collect();
    for (_, caption) in captioned() {
        for word in words(&caption) {
            assert!(!forbidden.contains(word.as_str()), "{word}: {caption}");
        }
    }
}

#[test]
fn english_is_varied_and_tidy() {
    let mut types = BTreeSet::new();
    let mut captions = BTreeSet::new();
    let mut count = 0;
    for (_, caption) in captioned() {
        for bad in ["  ", " ,", " .", ",,", "..", ",.", " a o", " a e", "{", "}"] {
            assert!(!caption.replace("a one", "").contains(bad), "{bad:?}: {caption}");
        }
        types.extend(words(&caption));
        captions.insert(caption);
        count += 1;
    }
    assert!(types.len() >= 300, "{} words", types.len());
    assert!(captions.len() * 100 > count * 97, "{} of {count} captions differ", captions.len());
}

#[test]
fn a_seed_always_gives_the_same_words() {
    let graph = SceneGraph::clip(Group::Girl, &Choices::default(), 5);
    assert_eq!(caption(&graph, 8), caption(&graph, 8));
    assert!((0..20).any(|seed| caption(&graph, seed) != caption(&graph, 8)));
}

#[test]
fn the_colour_of_a_backdrop_is_read_back() {
    let mut named = 0;
    for (graph, caption) in captioned() {
        let asked = backdrop_colour(&caption);
        match graph.background.place {
            Place::Plain(colour) => {
                assert!(asked.is_none_or(|asked| asked == colour), "{caption}");
                named += usize::from(asked.is_some());
            }
            _ => assert_eq!(asked, None, "{caption}"),
        }
    }
    assert!(named > 2500, "most captions name it: {named}");
}
