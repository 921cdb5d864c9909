//! The words of captions. Each phrase must be true whenever its table entry is.

use crate::motion::{Action, CameraMove, Expression, Facing, Framing};
use crate::scene::{Garment, HatKind, Lighting, NamedColour, Place};

/// What a picture is called.
pub(super) const PICTURE: &[&str] = &["a photo", "a photograph", "a picture", "a portrait", "a snapshot"];

/// What a clip is called.
pub(super) const CLIP: &[&str] =
    &["a video", "a clip", "a short video", "a brief clip", "footage", "a video portrait", "a shot"];

pub(super) fn framing(framing: Framing) -> &'static [&'static str] {
    match framing {
        Framing::CloseUp => &["a close-up", "a tight close-up", "a close view"],
        Framing::Portrait => &["a head-and-shoulders shot", "a head-and-shoulders view"],
        Framing::Bust => &["a medium close-up", "a bust shot", "a half-length view"],
    }
}

/// Pairs: after the subject, and as its verb. A direction is named by the same word in all of them: a small model that is to learn
/// each word by itself learns from a quarter of the clips if there are four.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn action(action: Action) -> &'static [(&'static str, &'static str)] {
    match action {
        Action::HoldStill => &[
            ("holding still", "holds still"),
            ("staying quiet", "stays quiet"),
            ("hardly moving", "hardly moves"),
            ("posing calmly", "poses calmly"),
        ],
        Action::TurnLeft => &[
            ("turning to the left", "turns to the left"),
            ("turning {their} head left", "turns {their} head left"),
            ("looking over to the left", "looks over to the left"),
            ("glancing towards the left side", "glances towards the left side"),
        ],
        Action::TurnRight => &[
            ("turning to the right", "turns to the right"),
            ("turning {their} head right", "turns {their} head right"),
            ("looking over to the right", "looks over to the right"),
            ("glancing towards the right side", "glances towards the right side"),
        ],
        Action::LookAround => &[
            ("looking around", "looks around"),
            ("looking from side to side", "looks from side to side"),
            ("turning {their} head one way and then the other", "turns {their} head one way and then the other"),
        ],
        Action::Nod => &[
            ("nodding", "nods"),
            ("nodding {their} head", "nods {their} head"),
            ("nodding in agreement", "nods in agreement"),
            ("saying yes with {their} head", "says yes with {their} head"),
        ],
        Action::ShakeHead => &[
            ("shaking {their} head", "shakes {their} head"),
            ("shaking {their} head to say no", "shakes {their} head to say no"),
            ("refusing with a shake of the head", "refuses with a shake of the head"),
        ],
        Action::TiltHead => &[
            ("tilting {their} head to one side", "tilts {their} head to one side"),
            ("leaning {their} head to one side", "leans {their} head to one side"),
            ("cocking {their} head to one side", "cocks {their} head to one side"),
        ],
        Action::LookUp => &[
            ("looking up", "looks up"),
            ("raising {their} head up", "raises {their} head up"),
            ("gazing up", "gazes up"),
            ("lifting {their} chin up", "lifts {their} chin up"),
        ],
        Action::LookDown => &[
            ("looking down", "looks down"),
            ("lowering {their} head down", "lowers {their} head down"),
            ("gazing down", "gazes down"),
            ("bowing {their} head down", "bows {their} head down"),
        ],
        Action::LeanForward => &[
            ("leaning forward", "leans forward"),
            ("leaning in", "leans in"),
            ("coming nearer", "comes nearer"),
            ("bending towards the viewer", "bends towards the viewer"),
        ],
        Action::Sway => &[
            ("swaying", "sways"),
            ("swaying from side to side", "sways from side to side"),
            ("rocking gently", "rocks gently"),
            ("moving to a slow rhythm", "moves to a slow rhythm"),
        ],
        Action::Smile => &[
            ("starting to smile", "starts to smile"),
            ("breaking into a smile", "breaks into a smile"),
            ("beginning to grin", "begins to grin"),
            ("beaming with joy", "beams with joy"),
        ],
        Action::Laugh => &[
            ("laughing", "laughs"),
            ("laughing out loud", "laughs out loud"),
            ("bursting into laughter", "bursts into laughter"),
            ("laughing happily", "laughs happily"),
        ],
        Action::Talk => &[
            ("talking", "talks"),
            ("speaking", "speaks"),
            ("talking to somebody", "talks to somebody"),
            ("telling a story", "tells a story"),
            ("chatting", "chats"),
        ],
        Action::Sing => &[
            ("singing", "sings"),
            ("singing a song", "sings a song"),
            ("singing slowly", "sings slowly"),
            ("singing a slow tune", "sings a slow tune"),
        ],
        Action::Surprise => &[
            ("reacting with surprise", "reacts with surprise"),
            ("gasping", "gasps"),
            ("becoming astonished", "becomes astonished"),
            ("looking suddenly amazed", "suddenly looks amazed"),
        ],
        Action::Blink => &[
            ("blinking", "blinks"),
            ("blinking slowly", "blinks slowly"),
            ("blinking again and again", "blinks again and again"),
        ],
        Action::Frown => &[
            ("starting to frown", "starts to frown"),
            ("frowning", "frowns"),
            ("scowling", "scowls"),
            ("growing angry", "grows angry"),
        ],
        Action::Wink => {
            &[("winking", "winks"), ("winking once", "winks once"), ("giving a playful wink", "gives a playful wink")]
        }
        Action::Pout => &[
            ("starting to pout", "starts to pout"),
            ("pouting", "pouts"),
            ("pushing out {their} lips", "pushes out {their} lips"),
            ("sulking", "sulks"),
        ],
        Action::RaiseBrows => &[
            ("raising {their} eyebrows", "raises {their} eyebrows"),
            ("lifting both eyebrows", "lifts both eyebrows"),
            ("wiggling {their} eyebrows", "wiggles {their} eyebrows"),
        ],
        Action::Yawn => &[
            ("yawning", "yawns"),
            ("yawning widely", "yawns widely"),
            ("giving a big yawn", "gives a big yawn"),
            ("yawning sleepily", "yawns sleepily"),
        ],
        Action::PuffCheeks => &[
            ("puffing out {their} cheeks", "puffs out {their} cheeks"),
            ("blowing up both cheeks", "blows up both cheeks"),
            ("filling {their} cheeks with air", "fills {their} cheeks with air"),
        ],
    }
}

/// Pairs as those of [`action`] that captions do not have and prompts may: the same without the word that names the direction.
pub(super) fn action_in_other_words(action: Action) -> &'static [(&'static str, &'static str)] {
    match action {
        Action::TiltHead => {
            &[("tilting {their} head", "tilts {their} head"), ("cocking {their} head", "cocks {their} head")]
        }
        Action::LookUp => &[
            ("raising {their} head", "raises {their} head"),
            ("gazing upwards", "gazes upwards"),
            ("lifting {their} chin", "lifts {their} chin"),
        ],
        Action::LookDown => &[
            ("lowering {their} head", "lowers {their} head"),
            ("gazing downwards", "gazes downwards"),
            ("bowing {their} head", "bows {their} head"),
        ],
        _ => &[],
    }
}

/// Of a picture. Pairs as those of [`action`].
pub(super) fn facing(facing: Facing) -> &'static [(&'static str, &'static str)] {
    match facing {
        Facing::Camera => &[
            ("facing the camera", "faces the camera"),
            ("facing the viewer", "faces the viewer"),
            ("facing forward", "faces forward"),
            ("posing", "poses"),
            ("seen from the front", "is seen from the front"),
        ],
        Facing::Left => &[
            ("turned to the left", "is turned to the left"),
            ("facing left", "faces left"),
            ("with {their} head turned left", "has turned {their} head left"),
            ("in a three-quarter view from the side, facing left", "is seen from the side, facing left"),
        ],
        Facing::Right => &[
            ("turned to the right", "is turned to the right"),
            ("facing right", "faces right"),
            ("with {their} head turned right", "has turned {their} head right"),
            ("in a three-quarter view from the side, facing right", "is seen from the side, facing right"),
        ],
        Facing::Up => &[
            ("with {their} head raised", "has raised {their} head"),
            ("holding {their} chin high", "holds {their} chin high"),
            ("facing upwards", "faces upwards"),
        ],
        Facing::Down => &[
            ("with {their} head lowered", "has lowered {their} head"),
            ("facing downwards", "faces downwards"),
            ("with {their} head bowed", "has bowed {their} head"),
        ],
    }
}

pub(super) fn expression(expression: Expression) -> &'static [&'static str] {
    match expression {
        Expression::Neutral => &["", "", "with a calm face", "with a neutral expression", "with a relaxed expression"],
        Expression::Smile => &[
            "with a smile",
            "with a gentle smile",
            "with a friendly smile",
            "with a warm smile",
            "with a content smile",
        ],
        Expression::Grin => &[
            "with a grin",
            "with a wide grin",
            "with a broad smile",
            "with a bright, toothy smile",
            "with a big happy grin",
        ],
        Expression::Surprise => {
            &["with a surprised look", "in surprise", "with an astonished face", "with an open mouth in surprise"]
        }
        Expression::Frown => &["with a frown", "with an angry look", "with a grim face", "with a stern expression"],
        Expression::Sadness => {
            &["with a sad look", "with a sad face", "with an unhappy expression", "with a sorrowful look"]
        }
        Expression::Pout => &["with a pout", "with pursed lips", "with a sulky face"],
        Expression::Smirk => &["with a smirk", "with a crooked smile", "with a sly smile", "with a lopsided smile"],
    }
}

pub(super) fn place(place: Place) -> &'static [&'static str] {
    match place {
        Place::Plain(_) => &[
            "against a plain {colour} backdrop",
            "in front of {a colour} wall",
            "before a simple {colour} background",
            "against {a colour} background",
        ],
        Place::LivingRoom => &["in a living room", "at home in a living room", "at home", "indoors in a living room"],
        Place::Kitchen => &["in a kitchen", "at home in the kitchen", "in a tiled kitchen"],
        Place::Office => &["in an office", "at work in an office", "in an office with a desk"],
        Place::Library => {
            &["in a library", "in front of bookshelves", "among the books of a library", "in a library full of books"]
        }
        Place::Sky => {
            &["beneath an open sky", "in front of the sky", "under a cloudy sky", "with only sky and clouds behind"]
        }
        Place::Park => &["in a park", "outdoors among trees", "in a leafy park", "in a park with trees and grass"],
        Place::Street => {
            &["on a street", "in a city street", "outside on a street with houses", "in front of houses in town"]
        }
        Place::Beach => &["on a beach", "by the sea", "on a sandy beach", "at the seaside", "by the ocean"],
        Place::Mountains => &[
            "in the mountains",
            "in front of snowy mountains",
            "outdoors with mountains behind",
            "in an alpine landscape",
        ],
        Place::NightCity => &[
            "in a city at night",
            "in front of city lights at night",
            "downtown at night",
            "with the lights of a city behind",
        ],
    }
}

pub(super) fn lighting(lighting: Lighting) -> &'static [&'static str] {
    match lighting {
        Lighting::SoftDaylight => {
            &["in soft daylight", "in gentle daylight", "in even, diffuse light", "by soft natural light"]
        }
        Lighting::BrightSun => {
            &["in bright sunlight", "in the bright sun", "in strong sunshine", "under a blazing sun"]
        }
        Lighting::Sunset => {
            &["at sunset", "in the golden light of sunset", "in the glow of the setting sun", "at golden hour"]
        }
        Lighting::Window => {
            &["in window light", "lit by a window at one side", "in the light that falls through a window"]
        }
        Lighting::Studio => &["in studio light", "under studio lamps", "with professional studio lighting"],
        Lighting::Lamplight => &["in warm lamplight", "in the warm light of lamps", "lit by dim, warm lamps"],
        Lighting::Moonlight => {
            &["in the moonlight", "by pale moonlight", "in the cold light of the moon", "under the moon"]
        }
        Lighting::Neon => &["in neon light", "lit by neon signs", "in the glow of neon", "in colourful neon lighting"],
    }
}

pub(super) fn garment(garment: Garment) -> &'static [&'static str] {
    match garment {
        Garment::TShirt => &["t-shirt", "tee", "short-sleeved t-shirt"],
        Garment::Shirt => &["shirt", "button-up shirt", "collared shirt"],
        Garment::Sweater => &["sweater", "pullover", "knitted sweater", "jumper"],
        Garment::Turtleneck => &["turtleneck", "turtleneck sweater", "roll-neck"],
        Garment::Hoodie => &["hoodie", "hooded sweatshirt"],
        Garment::Jacket => &["jacket", "jacket over a shirt"],
        Garment::TankTop => &["tank top", "sleeveless top"],
        Garment::Dress => &["dress", "wide-necked dress"],
    }
}

pub(super) fn hat(kind: HatKind) -> &'static [&'static str] {
    match kind {
        HatKind::Beanie => &["beanie", "knitted cap", "woolly hat"],
        HatKind::Cap => &["cap", "baseball cap", "peaked cap"],
        HatKind::SunHat => &["sun hat", "wide-brimmed hat", "hat with a wide brim"],
        HatKind::PartyHat => &["party hat", "paper party hat", "pointed party hat"],
    }
}

pub(super) fn colour(colour: NamedColour) -> &'static str {
    match colour {
        NamedColour::Red => "red",
        NamedColour::Orange => "orange",
        NamedColour::Yellow => "yellow",
        NamedColour::Green => "green",
        NamedColour::Teal => "teal",
        NamedColour::Blue => "blue",
        NamedColour::Purple => "purple",
        NamedColour::Pink => "pink",
        NamedColour::Brown => "brown",
        NamedColour::White => "white",
        NamedColour::Grey => "grey",
        NamedColour::Black => "black",
    }
}

/// Whole sentences, without the stop.
pub(super) fn camera_move(camera_move: CameraMove) -> &'static [&'static str] {
    match camera_move {
        CameraMove::Still => &["the camera is still", "the camera does not move", "a fixed shot", "static camera"],
        CameraMove::ZoomIn => &["the camera zooms in", "slow zoom in", "the camera slowly zooms in"],
        CameraMove::ZoomOut => &["the camera zooms out", "slow zoom out", "the camera slowly zooms out"],
        CameraMove::PushIn => {
            &["the camera pushes in", "the camera moves closer", "the camera approaches", "a slow dolly in"]
        }
        CameraMove::PullBack => {
            &["the camera pulls back", "the camera moves away", "the camera retreats", "a slow dolly out"]
        }
        CameraMove::PanLeft => &["the camera pans left", "the camera moves to the left", "the camera slides left"],
        CameraMove::PanRight => &["the camera pans right", "the camera moves to the right", "the camera slides right"],
        CameraMove::Rise => &["the camera rises", "the camera moves up", "the camera goes upwards"],
        CameraMove::Sink => &["the camera sinks", "the camera moves down", "the camera goes downwards"],
        CameraMove::HandHeld => &["handheld camera", "the camera shakes slightly", "the camera is held by hand"],
    }
}
