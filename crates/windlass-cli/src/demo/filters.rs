//! The filters of `image:process`: their names, and what each does to a picture. Pure functions of pixels.

use std::str::FromStr;

use image::{
    DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage,
    imageops::{self, FilterType},
};

/// The longest side of a thumbnail, in pixels.
pub(super) const THUMBNAIL: u32 = 320;

/// One step of the work on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Thumbnail,
    Grayscale,
    Blur,
    Sharpen,
    Sepia,
    Invert,
    Rotate,
}

impl Filter {
    pub(super) const ALL: [Filter; 7] = [
        Filter::Thumbnail,
        Filter::Grayscale,
        Filter::Blur,
        Filter::Sharpen,
        Filter::Sepia,
        Filter::Invert,
        Filter::Rotate,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Filter::Thumbnail => "thumbnail",
            Filter::Grayscale => "grayscale",
            Filter::Blur => "blur",
            Filter::Sharpen => "sharpen",
            Filter::Sepia => "sepia",
            Filter::Invert => "invert",
            Filter::Rotate => "rotate",
        }
    }

    /// The picture after this step.
    pub(super) fn apply(self, picture: &RgbImage) -> RgbImage {
        match self {
            Filter::Thumbnail => thumbnail(picture),
            Filter::Grayscale => each(picture, |[r, g, b]| [luma(r, g, b); 3]),
            Filter::Blur => imageops::fast_blur(picture, 3.0),
            Filter::Sharpen => imageops::unsharpen(picture, 1.5, 2),
            Filter::Sepia => each(picture, sepia),
            Filter::Invert => each(picture, |pixel| pixel.map(|channel| 255 - channel)),
            Filter::Rotate => imageops::rotate90(picture),
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|filter| filter.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|filter| filter.as_str()).collect();
            format!("no filter is called `{name}`; there are {}", names.join(", "))
        })
    }
}

/// A picture from the bytes of a file, upright and on white where it is transparent.
pub(super) fn decode(bytes: &[u8]) -> image::ImageResult<RgbImage> {
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(20_000);
    limits.max_image_height = Some(20_000);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    if !picture.color().has_alpha() {
        return Ok(picture.into_rgb8());
    }
    let rgba = picture.into_rgba8();
    let on_white = |channel: u8, alpha: u8| {
        let (channel, alpha) = (u32::from(channel), u32::from(alpha));
        ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    Ok(RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|channel| on_white(channel, alpha)))
    }))
}

/// The picture as a JPEG file.
pub(super) fn encode(picture: &RgbImage) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 82))?;
    Ok(bytes)
}

/// At most 320 pixels on its longer side; a small picture stays as it is.
fn thumbnail(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= THUMBNAIL {
        return picture.clone();
    }
    let scale = |side: u32| {
        let scaled = (u64::from(side) * u64::from(THUMBNAIL) + u64::from(longest) / 2) / u64::from(longest);
        u32::try_from(scaled).unwrap_or(THUMBNAIL).max(1)
    };
    imageops::resize(picture, scale(width), scale(height), FilterType::CatmullRom)
}

fn each(picture: &RgbImage, change: impl Fn([u8; 3]) -> [u8; 3]) -> RgbImage {
    let mut changed = picture.clone();
    changed.pixels_mut().for_each(|pixel| pixel.0 = change(pixel.0));
    changed
}

/// Brightness as ITU-R BT.601 weighs it.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
}

/// A warm brown tone of the brightness: white stays nearly white, black stays black.
fn sepia([r, g, b]: [u8; 3]) -> [u8; 3] {
    let light = f32::from(luma(r, g, b));
    [light * 1.07 + 4.0, light * 0.92 + 2.0, light * 0.72].map(|channel| channel.clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90]))
    }

    #[test]
    fn thumbnails_keep_the_shape_and_never_grow() {
        assert_eq!(Filter::Thumbnail.apply(&gradient(1000, 500)).dimensions(), (320, 160));
        assert_eq!(Filter::Thumbnail.apply(&gradient(1, 4000)).dimensions(), (1, 320));
        assert_eq!(Filter::Thumbnail.apply(&gradient(40, 30)).dimensions(), (40, 30));
    }

    #[test]
    fn grayscale_makes_all_channels_equal() {
        assert!(Filter::Grayscale.apply(&gradient(20, 20)).pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]));
    }

    #[test]
    fn inverting_twice_gives_the_picture_back() {
        let picture = gradient(20, 20);
        assert_eq!(Filter::Invert.apply(&Filter::Invert.apply(&picture)), picture);
    }

    #[test]
    fn a_quarter_turn_swaps_the_sides() {
        let picture = gradient(30, 20);
        let turned = Filter::Rotate.apply(&picture);
        assert_eq!(turned.dimensions(), (20, 30));
        assert_eq!(turned.get_pixel(19, 0), picture.get_pixel(0, 0));
    }

    #[test]
    fn blur_takes_contrast_away_and_sharpen_adds_it() {
        let edge = RgbImage::from_fn(40, 10, |x, _| image::Rgb([if x < 20 { 60 } else { 190 }; 3]));
        let range = |picture: &RgbImage| {
            let values = || picture.pixels().map(|pixel| pixel.0[0]);
            values().max().unwrap() - values().min().unwrap()
        };
        assert!(Filter::Blur.apply(&edge).get_pixel(19, 5).0[0] > 60);
        assert!(range(&Filter::Sharpen.apply(&edge)) > range(&edge));
    }

    #[test]
    fn sepia_is_warm() {
        let [r, g, b] = sepia([128; 3]);
        assert!(r > g && g > b);
    }

    #[test]
    fn unknown_filters_are_refused_with_the_known_ones() {
        assert!("sparkle".parse::<Filter>().unwrap_err().contains("grayscale"));
        Filter::ALL.iter().for_each(|filter| assert_eq!(filter.as_str().parse(), Ok(*filter)));
    }

    #[test]
    fn what_is_encoded_decodes_and_what_is_no_picture_does_not() {
        let back = decode(&encode(&gradient(33, 21)).unwrap()).unwrap();
        assert_eq!(back.dimensions(), (33, 21));
        assert!(decode(b"no picture").is_err());
    }

    #[test]
    fn transparent_pixels_become_white() {
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(2, 2, image::Rgba([10, 20, 30, 0])));
        let mut bytes = std::io::Cursor::new(Vec::new());
        clear.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        assert_eq!(decode(bytes.get_ref()).unwrap().get_pixel(0, 0).0, [255; 3]);
    }
}
