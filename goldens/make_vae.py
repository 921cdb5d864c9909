"""VAE chunking and tiling cases, computed with diffusers' AutoencoderKLCogVideoX on CPU in float32.

Usage: python make_vae.py OUT_DIR      (the repository's copy: python make_vae.py vae)

OUT_DIR/config.json, diffusion_pytorch_model.safetensors   a tiny VAE, sample size 96 x 80 pixels
OUT_DIR/chunks.safetensors    time chunking, untiled:
  decode.in [1,C,6,h,w], decode.F [1,3,f,H,W] for the first F = 1..6 latent frames; values not clamped, no scaling factor
  encode.in [1,3,21,H,W], encode.f.{mean,logvar} [1,C,F,h,w] for the first f = 1, 5, 8, 9, 13, 16, 17, 21 frames
OUT_DIR/tiles.safetensors     vae.enable_tiling() at its defaults:
  decode.<case>.{in,out}; encode.<case>.{mean,logvar} of decode.<case>.out
  decode.<case>.untiled_differs f32 [1]: largest distance to the untiled result (a tiling that does nothing fails)

Frame counts as diffusers decodes them: the first chunk takes 2 + F % 2 latent frames (1 when F = 1) and the rest 2 each; a
chunk of an even number of latent frames decodes to four times as many frames, an odd one to 4 n - 3. So F = 1..6 gives 1, 8,
9, 16, 17, 24 frames: an even count is not (F - 1) * 4 + 1.

Tiling as diffusers 0.42.1 does it. With sample size (sh, sw) and four VAE levels:
  tile in pixels = (sh // 2, sw // 2), in latents = int(tile / 8); tiled when height OR width exceeds the tile
  decode: stride int(latent tile * (1 - 1/6)) rows, int(latent tile * (1 - 1/5)) columns; blend int(pixel tile * 1/6),
  int(pixel tile * 1/5); each tile keeps its first (pixel tile - blend) rows and columns
  encode: the same with pixels and latents exchanged
  blending: tiles row by row; each with the finished tile above, then with the finished tile on its left (in place, so both
  neighbours are already blended), weight y / blend from 0; blend is cut to the smaller tile
  time chunks run inside a tile, with a cache of its own
Here: pixel tile 48 x 40, latent tile 6 x 5; decode strides 5, 4, blends 8, 8, limits 40, 32; encode strides 40, 32, blends
1, 1, limits 5, 4. (Sample sizes whose latent tile is no multiple of 6 and 5 give tiles that do not meet: sizes come out wrong.)
"""

import os
import shutil
import sys

import torch
from diffusers import AutoencoderKLCogVideoX
from reference import randomise, write_tensors

# latent frames, height, width
TILES = {
    "both_axes": (1, 11, 13),  # last tiles one latent thick: thinner than the blend
    "width_only": (3, 5, 7),
    "height_only": (2, 8, 3),
    "at_the_limit": (1, 6, 5),  # equal to the tile: not tiled
}


@torch.no_grad()
def main(folder):
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(7300)
    vae = AutoencoderKLCogVideoX(
        in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(4, 4, 8, 8), latent_channels=4, layers_per_block=1,
        norm_num_groups=2, temporal_compression_ratio=4, scaling_factor=0.7, sample_height=96, sample_width=80).eval()
    randomise(vae, generator, 0.6)
    vae.save_pretrained(folder)

    latents = torch.randn(1, 4, 6, 2, 1, generator=generator)
    video = torch.rand(1, 3, 21, 16, 8, generator=generator) * 2 - 1
    chunks = {"decode.in": latents, "encode.in": video}
    for count in range(1, 7):
        chunks[f"decode.{count}"] = vae.decode(latents[:, :, :count]).sample
    for count in (1, 5, 8, 9, 13, 16, 17, 21):
        posterior = vae.encode(video[:, :, :count]).latent_dist
        chunks |= {f"encode.{count}.mean": posterior.mean, f"encode.{count}.logvar": posterior.logvar}
    write_tensors(os.path.join(folder, "chunks.safetensors"), chunks)

    tiles = {}
    for name, shape in TILES.items():
        latents = torch.randn(1, 4, *shape, generator=generator)
        vae.disable_tiling()
        untiled = vae.decode(latents).sample
        vae.enable_tiling()
        decoded = vae.decode(latents).sample
        posterior = vae.encode(decoded).latent_dist
        assert decoded.shape == untiled.shape and posterior.mean.shape[-2:] == latents.shape[-2:]
        difference = (decoded - untiled).abs().max().reshape(1)
        assert (difference > 0) == (name != "at_the_limit")
        tiles |= {f"decode.{name}.in": latents, f"decode.{name}.out": decoded, f"decode.{name}.untiled_differs": difference,
                  f"encode.{name}.mean": posterior.mean, f"encode.{name}.logvar": posterior.logvar}
    write_tensors(os.path.join(folder, "tiles.safetensors"), tiles)
    assert (vae.tile_sample_min_height, vae.tile_sample_min_width) == (48, 40)
    assert (vae.tile_latent_min_height, vae.tile_latent_min_width) == (6, 5)
    for name, tensor in (chunks | tiles).items():
        print(name, tuple(tensor.shape), f"max {tensor.abs().max():.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
