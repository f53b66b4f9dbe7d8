// Bilinear upsampling as torch does it (align_corners=False).
#pragma once

#include <algorithm>
#include <vector>

#include "vectors.hpp"

// Where the pixels of one axis lie between the places that are known: pixel p between `low[p]` and `high[p]`,
// `weight[p]` towards high.
struct BilinearAxis {
  std::vector<int32_t> low, high;
  std::vector<float> weight;  // padded, so that a whole vector may be loaded from any pixel on
  std::vector<int64_t> first_between;  // for each place the first pixel whose `low` it is or would be, and the end

  BilinearAxis(int64_t pixels, int64_t places)
      : low(pixels), high(pixels), weight(pixels + LANES<float>), first_between(places + 1) {
    const float scale = static_cast<float>(places) / static_cast<float>(pixels);
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const float position = std::max(0.0f, scale * (static_cast<float>(pixel) + 0.5f) - 0.5f);
      low[pixel] = std::min(static_cast<int32_t>(position), static_cast<int32_t>(places - 1));
      high[pixel] = std::min(low[pixel] + 1, static_cast<int32_t>(places - 1));
      weight[pixel] = std::min(position - static_cast<float>(low[pixel]), 1.0f);
    }
    for (int64_t place = 0, pixel = 0; place <= places; ++place) {
      while (pixel < pixels && low[pixel] < place) ++pixel;
      first_between[place] = pixel;
    }
  }
};
