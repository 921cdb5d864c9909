//! Frames as H.264, by `OpenH264`.

use std::path::Path;

use image::RgbImage;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, QpRange, RateControlMode, UsageType,
    VuiConfig,
};

use super::i420::I420;
use crate::MediaError;

/// Quantisers of every frame, from 12 (best) to 51, in the order they are tried. At 16 natural video keeps more than
/// 40 dB of PSNR (without what 4:2:0 chroma costs); every 6 steps double the quantiser's step. The others are for what
/// cannot be compressed, such as the noise of an untrained model: then a frame may outgrow the encoder's buffer.
const QUANTISERS: [u8; 5] = [16, 22, 28, 34, 40];

/// A key frame at least this often, to jump to.
const KEY_FRAME_SECONDS: f64 = 2.0;

const MIN_SIDE: u32 = 16;
const MAX_LONG_SIDE: u32 = 3840;
const MAX_SHORT_SIDE: u32 = 2160;

/// An encoded video, as MP4 wants it.
pub(super) struct Stream {
    /// The sequence parameter set, without start code.
    pub(super) sequence_parameters: Vec<u8>,
    /// The picture parameter set, without start code.
    pub(super) picture_parameters: Vec<u8>,
    /// One for each frame, in order.
    pub(super) samples: Vec<Sample>,
}

/// One encoded frame.
pub(super) struct Sample {
    /// Its units, each after its length in 4 bytes.
    pub(super) data: Vec<u8>,
    /// Whether decoding can start here.
    pub(super) key_frame: bool,
}

/// Refuse sizes that the encoder or 4:2:0 chroma cannot have.
pub(crate) fn check_size(path: &Path, (width, height): (u32, u32)) -> Result<(), MediaError> {
    let (max_width, max_height) =
        if width >= height { (MAX_LONG_SIDE, MAX_SHORT_SIDE) } else { (MAX_SHORT_SIDE, MAX_LONG_SIDE) };
    let nearest = |side: u32, max: u32| (side - side % 2).clamp(MIN_SIDE, max);
    let (nearest_width, nearest_height) = (nearest(width, max_width), nearest(height, max_height));
    if (nearest_width, nearest_height) == (width, height) {
        return Ok(());
    }
    Err(MediaError::VideoSize { path: path.to_owned(), width, height, nearest_width, nearest_height })
}

/// Encode `frames`, whose one size has passed [`check_size`], with the best quantiser that the encoder can manage.
pub(super) fn encode(path: &Path, frames: &[RgbImage], fps: f64) -> Result<Stream, MediaError> {
    let [best, coarser @ ..] = QUANTISERS;
    coarser.into_iter().fold(encode_at(best, path, frames, fps), |encoded, quantiser| {
        encoded.or_else(|_| encode_at(quantiser, path, frames, fps))
    })
}

fn encode_at(quantiser: u8, path: &Path, frames: &[RgbImage], fps: f64) -> Result<Stream, MediaError> {
    let config = config(quantiser, frames[0].dimensions(), fps);
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(failed(path))?;
    let mut stream = Stream { sequence_parameters: Vec::new(), picture_parameters: Vec::new(), samples: Vec::new() };
    for frame in frames {
        let bits = encoder.encode(&I420::from_rgb(frame)).map_err(failed(path))?;
        let mut sample = Sample { data: Vec::new(), key_frame: false };
        for layer in (0..bits.num_layers()).filter_map(|index| bits.layer(index)) {
            for unit in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
                stream.take_unit(&mut sample, without_start_code(unit));
            }
        }
        if sample.data.is_empty() {
            return Err(failed(path)("the encoder skipped a frame"));
        }
        stream.samples.push(sample);
    }
    Ok(stream)
}

impl Stream {
    /// Parameter sets, which stay the same for the whole video, belong into the MP4's header, all else into the sample.
    fn take_unit(&mut self, sample: &mut Sample, unit: &[u8]) {
        const KEY_FRAME_SLICE: u8 = 5;
        const SEQUENCE_PARAMETERS: u8 = 7;
        const PICTURE_PARAMETERS: u8 = 8;
        match unit.first().map(|byte| byte & 0x1f) {
            Some(SEQUENCE_PARAMETERS) => self.sequence_parameters = unit.to_vec(),
            Some(PICTURE_PARAMETERS) => self.picture_parameters = unit.to_vec(),
            Some(kind) => {
                sample.key_frame |= kind == KEY_FRAME_SLICE;
                sample.data.extend((unit.len() as u32).to_be_bytes());
                sample.data.extend(unit);
            }
            None => {}
        }
    }
}

/// What the video may need at most: no target, but it decides which level the file claims, and players refuse high
/// levels. Two bits a pixel are ample for natural video at the best of [`QUANTISERS`].
fn bit_rate((width, height): (u32, u32), fps: f64) -> u32 {
    (2.0 * f64::from(width) * f64::from(height) * fps).min(200e6) as u32
}

fn config(quantiser: u8, size: (u32, u32), fps: f64) -> EncoderConfig {
    EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .complexity(Complexity::High)
        // The one mode that neither prints warnings to stderr nor drops frames. It moves the quantiser within its
        // range, here of one value, to which a detected scene change would add.
        .rate_control_mode(RateControlMode::Bufferbased)
        .scene_change_detect(false)
        .qp(QpRange::new(quantiser, quantiser))
        .bitrate(BitRate::from_bps(bit_rate(size, fps)))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .skip_frames(false)
        .adaptive_quantization(false)
        .background_detection(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames((fps * KEY_FRAME_SECONDS).ceil() as u32))
        .vui(VuiConfig::bt709())
        // One thread: the same frames give the same bytes on every machine.
        .num_threads(1)
}

fn failed<E>(path: &Path) -> impl FnOnce(E) -> MediaError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    MediaError::encode(path, "H.264")
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    let code = unit.iter().position(|&byte| byte != 0).map_or(unit.len(), |zeros| zeros + 1);
    &unit[code.min(unit.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// White noise cannot be compressed: at the best quantiser a frame outgrows the encoder's buffer.
    #[test]
    fn noise_is_encoded() {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for (width, height) in [(144, 96), (64, 48), (320, 240)] {
            let frames: Vec<RgbImage> = (0..3)
                .map(|_| RgbImage::from_fn(width, height, |_, _| image::Rgb([noise(), noise(), noise()])))
                .collect();
            let stream = encode(Path::new("noise.mp4"), &frames, 8.0).unwrap();
            assert_eq!(stream.samples.len(), frames.len(), "{width}×{height}");
        }
    }

    #[test]
    fn invalid_sizes_name_the_nearest_valid_one() {
        let cases = [
            ((17, 16), Some((16, 16))),
            ((16, 16), None),
            ((2, 100), Some((16, 100))),
            ((721, 481), Some((720, 480))),
            ((3840, 2160), None),
            ((2160, 3840), None),
            ((4000, 4000), Some((3840, 2160))),
        ];
        for (size, expected) in cases {
            let nearest = match check_size(Path::new("out.mp4"), size) {
                Err(MediaError::VideoSize { nearest_width, nearest_height, .. }) => {
                    Some((nearest_width, nearest_height))
                }
                Err(other) => panic!("{other}"),
                Ok(()) => None,
            };
            assert_eq!(nearest, expected, "{size:?}");
        }
    }

    #[test]
    fn start_codes_of_both_lengths_are_cut_off() {
        assert_eq!(without_start_code(&[0, 0, 1, 0x67, 0]), [0x67, 0]);
        assert_eq!(without_start_code(&[0, 0, 0, 1, 0x65]), [0x65]);
        assert!(without_start_code(&[]).is_empty());
    }
}
