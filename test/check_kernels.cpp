// Every kernel of src/ against a plain loop in double precision, without Python and torch: for CPUs that tests are
// cross-compiled for. test_kernels_on_aarch64.py builds and runs it; it ends with 1 where a number is wrong.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

// --- The OpenMP that src/ finds in torch's process -------------------------------------------------------------------

static thread_local int own_number = 0, team_size = 1;

extern "C" int omp_get_thread_num() { return own_number; }
extern "C" int omp_get_num_threads() { return team_size; }
extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned thread_count, unsigned) {
  std::vector<std::thread> team;
  for (unsigned number = 0; number < thread_count; ++number) {
    team.emplace_back([=] {
      own_number = static_cast<int>(number), team_size = static_cast<int>(thread_count);
      body(data);
    });
  }
  for (std::thread& thread : team) thread.join();
}

// --- What src/ exports, as lowlat_seg_ros/kernels/cpp.py declares it --------------------------------------------------

struct ConvolutionSizes { int64_t batch, height, width, channels, reach; };
struct MatchSizes { int64_t height, width, guidance_channels, reach; float sharpness; };
struct Moved { const float* feature; float* result; int64_t channels; };
struct CarriedSizes { int64_t height, width, classes, coarse_height, coarse_width, fineness; };
struct TrainingSizes { int64_t inputs, parts, classes, batch, step; float learning_rate, weight_decay; };
struct FlowSize { int64_t height, width; };
struct LogitSizes { int64_t classes, height, width, class_stride, row_stride, column_stride; };

extern "C" {
int best_cpu();
int use_cpu(int wanted);
void convolve_float(const float*, const float*, float*, ConvolutionSizes, int);
void convolve_double(const double*, const double*, double*, ConvolutionSizes, int);
void feature_gradient_float(const float*, const float*, float*, ConvolutionSizes, int);
void feature_gradient_double(const double*, const double*, double*, ConvolutionSizes, int);
void kernel_gradient_float(const float*, const float*, float*, ConvolutionSizes, int);
void kernel_gradient_double(const double*, const double*, double*, ConvolutionSizes, int);
void matched_transport(
    const float*, const float*, const float*, const Moved*, int64_t, const float*, float*, MatchSizes, int);
void find_flow(const uint8_t*, const uint8_t*, float*, FlowSize);
void carry_logits(
    const float*, const float*, const float*, const float*, const float*, const float*, float*, CarriedSizes, int);
void step_classifier(const float*, const float*, const int64_t*, float*, float*, float*, TrainingSizes);
bool labels_from_logits(const float*, LogitSizes, uint8_t*, int64_t, int64_t, int);
void halve_image(const uint8_t*, int64_t, int64_t, const float*, const float*, float*, int);
}

// --- Numbers made up, and compared ------------------------------------------------------------------------------------

namespace {

using Doubles = std::vector<double>;

std::mt19937 generator;
int failures = 0;

template <typename T = float>
std::vector<T> random_numbers(int64_t count, double lowest = -1, double highest = 1) {
  std::vector<T> numbers(count);
  for (T& number : numbers) number = static_cast<T>(lowest + (highest - lowest) * (generator() / 4294967296.0));
  return numbers;
}

void report(const std::string& name, double error, double tolerance) {
  const bool is_right = error <= tolerance;  // false for nan
  failures += !is_right;
  std::printf("%s %-40s largest error %.1e of %.1e\n", is_right ? "ok   " : "WRONG", name.c_str(), error, tolerance);
}

// All sums here are of at most a few hundred terms of size 1, each rounded to a relative 6e-8 (float), 1e-16 (double).
template <typename T>
void compare(const std::string& name, const std::vector<T>& result, const Doubles& expected) {
  double error = 0;
  for (size_t index = 0; index < expected.size(); ++index) {
    const double difference = std::abs(result[index] - expected[index]) / std::max(1.0, std::abs(expected[index]));
    error = difference <= error ? error : difference;  // a nan, too
    if (std::isnan(error)) break;
  }
  report(name, error, sizeof(T) == 4 ? 2e-5 : 1e-13);
}

// Calls use(weight's place among the taps, the row and column that it looks at) for all neighbours inside the picture.
template <typename Use>
void for_each_tap(int64_t height, int64_t width, int64_t reach, int64_t row, int64_t column, Use use) {
  for (int64_t u = -reach, tap = 0; u <= reach; ++u) {
    for (int64_t v = -reach; v <= reach; ++v, ++tap) {
      const int64_t i = row - u, j = column - v;
      if (i >= 0 && i < height && j >= 0 && j < width) use(tap, i * width + j);
    }
  }
}

// --- Equation 1 and its gradients -------------------------------------------------------------------------------------

template <typename T, typename Kernel>
void check_convolution(const std::string& type, Kernel convolve, Kernel feature_gradient, Kernel kernel_gradient,
                       int threads) {
  const ConvolutionSizes size{2, 5, 7, 107, 2};  // of 107 channels: many vectors, some, one, and a remainder
  const int64_t taps = 25, places = size.height * size.width, channels = size.channels;
  const auto feature = random_numbers<T>(size.batch * places * channels);
  const auto kernels = random_numbers<T>(size.batch * places * taps);
  const auto gradient = random_numbers<T>(size.batch * places * channels);
  Doubles expected(feature.size()), of_feature(feature.size()), of_kernels(kernels.size());
  for (int64_t place = 0; place < size.batch * places; ++place) {
    const int64_t picture = place / places * places, row = place % places / size.width, column = place % size.width;
    for_each_tap(size.height, size.width, size.reach, row, column, [&](int64_t tap, int64_t neighbour) {
      const double weight = kernels[place * taps + tap];
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t here = place * channels + channel, there = (picture + neighbour) * channels + channel;
        expected[here] += weight * feature[there];
        of_feature[there] += weight * gradient[here];
        of_kernels[place * taps + tap] += static_cast<double>(feature[there]) * gradient[here];
      }
    });
  }
  std::vector<T> result(feature.size(), 7), kernel_result(kernels.size(), 7);
  convolve(feature.data(), kernels.data(), result.data(), size, threads);
  compare("convolve_" + type, result, expected);
  feature_gradient(gradient.data(), kernels.data(), result.data(), size, threads);
  compare("feature_gradient_" + type, result, of_feature);
  kernel_gradient(feature.data(), gradient.data(), kernel_result.data(), size, threads);
  compare("kernel_gradient_" + type, kernel_result, of_kernels);
}

// --- Matched transport ------------------------------------------------------------------------------------------------

std::vector<float> unit_guidance(int64_t places, int64_t channels) {
  std::vector<float> guidance = random_numbers(places * channels);
  for (int64_t place = 0; place < places; ++place) {
    float* values = &guidance[place * channels];
    double square = 0;
    for (int64_t channel = 0; channel < channels; ++channel) square += values[channel] * values[channel];
    for (int64_t channel = 0; channel < channels; ++channel) values[channel] /= static_cast<float>(std::sqrt(square));
  }
  return guidance;
}

// softmax(sharpness * correlation + prior) over the taps of each place; what lies outside correlates by 0.
Doubles matching_kernels(const MatchSizes& size, const std::vector<float>& key, const std::vector<float>& current,
                         const std::vector<float>& prior) {
  Doubles kernels;
  for (int64_t place = 0; place < size.height * size.width; ++place) {
    Doubles logits(prior.begin(), prior.end());
    for_each_tap(size.height, size.width, size.reach, place / size.width, place % size.width,
                 [&](int64_t tap, int64_t neighbour) {
      for (int64_t channel = 0; channel < size.guidance_channels; ++channel) {
        logits[tap] += static_cast<double>(size.sharpness) * key[neighbour * size.guidance_channels + channel] *
                       current[place * size.guidance_channels + channel];
      }
    });
    double sum = 0;
    for (double logit : logits) sum += std::exp(logit);
    for (double logit : logits) kernels.push_back(std::exp(logit) / sum);
  }
  return kernels;
}

// 0 where the moved guidance of the key frame is the current one, towards 1 the more they differ.
Doubles gate_of(const MatchSizes& size, const Doubles& kernels, const std::vector<float>& key,
                const std::vector<float>& current, const std::vector<float>& sensitivity) {
  const int64_t channels = size.guidance_channels, taps = (2 * size.reach + 1) * (2 * size.reach + 1);
  Doubles gate;
  for (int64_t place = 0; place < size.height * size.width; ++place) {
    double difference = 0;
    for (int64_t channel = 0; channel < channels; ++channel) {
      double moved = 0;
      for_each_tap(size.height, size.width, size.reach, place / size.width, place % size.width,
                   [&](int64_t tap, int64_t neighbour) {
        moved += kernels[place * taps + tap] * key[neighbour * channels + channel];
      });
      difference += sensitivity[channel] * std::abs(current[place * channels + channel] - moved);
    }
    gate.push_back(1 - std::exp(-difference));
  }
  return gate;
}

void check_matched_transport(int threads) {
  const MatchSizes size{5, 19, 3, 2, 6.0f};
  const int64_t places = size.height * size.width, taps = 25, channels[] = {1, 17, 123};
  const auto key = unit_guidance(places, size.guidance_channels), current = unit_guidance(places, size.guidance_channels);
  const auto prior = random_numbers(taps);
  const Doubles kernels = matching_kernels(size, key, current, prior);
  std::vector<std::vector<float>> features, results;
  for (int64_t count : channels) {
    features.push_back(random_numbers(places * count));
    results.emplace_back(places * count, 7.0f);
  }
  std::vector<Moved> moved;
  for (size_t index = 0; index < features.size(); ++index) {
    moved.push_back({features[index].data(), results[index].data(), channels[index]});
  }
  const auto sensitivity = random_numbers(size.guidance_channels, 0, 2);
  std::vector<float> gate(places, 7);
  matched_transport(key.data(), current.data(), prior.data(), moved.data(), moved.size(), sensitivity.data(),
                    gate.data(), size, threads);
  compare("matched_transport, the gate", gate, gate_of(size, kernels, key, current, sensitivity));
  for (size_t index = 0; index < features.size(); ++index) {
    Doubles expected(features[index].size());
    for (int64_t place = 0; place < places; ++place) {
      for_each_tap(size.height, size.width, size.reach, place / size.width, place % size.width,
                   [&](int64_t tap, int64_t neighbour) {
        for (int64_t channel = 0; channel < channels[index]; ++channel) {
          expected[place * channels[index] + channel] +=
              kernels[place * taps + tap] * features[index][neighbour * channels[index] + channel];
        }
      });
    }
    compare("matched_transport, " + std::to_string(channels[index]) + " channels", results[index], expected);
  }
}

// --- Logits: carried, and made labels ---------------------------------------------------------------------------------

// A picture of one number a place, or of more that lie `step` apart, at any position; what lies outside is its edge.
double bilinear(const float* picture, int64_t height, int64_t width, double y, double x, int64_t row_step,
                int64_t step) {
  y = std::clamp(y, 0.0, height - 1.0), x = std::clamp(x, 0.0, width - 1.0);
  const int64_t upper = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
  const int64_t lower = std::min(upper + 1, height - 1), right = std::min(left + 1, width - 1);
  const auto row = [&](int64_t at) {
    return (1 - (x - left)) * picture[at * row_step + left * step] + (x - left) * picture[at * row_step + right * step];
  };
  return (1 - (y - upper)) * row(upper) + (y - upper) * row(lower);
}

// Keys' cubic, a = -0.75, of how far a place is from the position.
double cubic(double distance) {
  const double a = -0.75, d = std::abs(distance);
  if (d <= 1) return (a + 2) * d * d * d - (a + 3) * d * d + 1;
  return d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a : 0;
}

// Of the 4 x 4 places around a position inside the picture; what lies outside is its edge.
double bicubic(const float* picture, int64_t height, int64_t width, double y, double x, int64_t row_step,
               int64_t step) {
  const int64_t upper = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
  double sum = 0;
  for (int64_t row = upper - 1; row <= upper + 2; ++row) {
    for (int64_t column = left - 1; column <= left + 2; ++column) {
      const int64_t at = std::clamp<int64_t>(row, 0, height - 1) * row_step +
                         std::clamp<int64_t>(column, 0, width - 1) * step;
      sum += cubic(y - row) * cubic(x - column) * picture[at];
    }
  }
  return sum;
}

// Where pixel `index` of `pixels` lies among `places` (align_corners=False).
double enlarged(int64_t index, int64_t pixels, int64_t places) { return (index + 0.5) * places / pixels - 0.5; }

void check_carried_logits(int64_t classes, bool has_coarse_doubt, int threads) {
  const CarriedSizes size{6, 9, classes, 2, 4, 1};
  const int64_t places = size.height * size.width;
  const auto key = random_numbers(places * classes), current = random_numbers(places * classes);
  const auto flow = random_numbers(2 * places, -3, 3), doubt = random_numbers(places, 0, 1);
  const auto coarse = random_numbers(size.coarse_height * size.coarse_width, 0, 1);
  Doubles expected;
  for (int64_t place = 0; place < places; ++place) {
    const int64_t row = place / size.width, column = place % size.width;
    const double x = column + static_cast<double>(flow[2 * place]), y = row + static_cast<double>(flow[2 * place + 1]);
    double largest = doubt[place];
    if (has_coarse_doubt) {
      largest = std::max(largest, bilinear(coarse.data(), size.coarse_height, size.coarse_width,
                                           enlarged(row, size.height, size.coarse_height),
                                           enlarged(column, size.width, size.coarse_width), size.coarse_width, 1));
    }
    if (x < 0 || y < 0 || x > size.width - 1 || y > size.height - 1) largest = 1;
    for (int64_t label = 0; label < classes; ++label) {
      const double carried =
          largest < 1 ? bicubic(&key[label], size.height, size.width, y, x, size.width * classes, classes) : 0;
      expected.push_back((1 - largest) * carried + largest * current[place * classes + label]);
    }
  }
  std::vector<float> result(places * classes, 7);
  carry_logits(key.data(), current.data(), flow.data(), doubt.data(), has_coarse_doubt ? coarse.data() : nullptr,
               nullptr, result.data(), size, threads);
  compare("carry_logits, " + std::to_string(classes) + (has_coarse_doubt ? " classes, two doubts" : " classes"), result,
          expected);
}

// With nothing carried, the current frame's folded logits, or those of it alone by the coarse doubt, are the result.
void check_mixed_logits(int64_t classes, int threads) {
  const CarriedSizes size{6, 9, classes, 2, 3, 3};
  const int64_t places = size.height * size.width, r = size.fineness;
  const auto key = random_numbers(places * classes), folded = random_numbers(places * classes);
  const std::vector<float> flow(2 * places, 100), doubt(places, 1);
  const auto coarse = random_numbers(size.coarse_height * size.coarse_width, 0, 1);
  const auto alone = random_numbers(size.coarse_height * size.coarse_width * classes);
  Doubles expected;
  for (int64_t place = 0; place < places; ++place) {
    const int64_t row = place / size.width, column = place % size.width;
    const double y = enlarged(row, size.height, size.coarse_height);
    const double x = enlarged(column, size.width, size.coarse_width);
    const double share = bilinear(coarse.data(), size.coarse_height, size.coarse_width, y, x, size.coarse_width, 1);
    for (int64_t label = 0; label < classes; ++label) {
      const int64_t own = (row / r * (size.width / r) + column / r) * r * r + row % r * r + column % r;
      const double seen = bilinear(&alone[label], size.coarse_height, size.coarse_width, y, x,
                                   size.coarse_width * classes, classes);
      expected.push_back((1 - share) * folded[own * classes + label] + share * seen);
    }
  }
  std::vector<float> result(expected.size(), 7);
  carry_logits(key.data(), folded.data(), flow.data(), doubt.data(), coarse.data(), alone.data(), result.data(), size,
               threads);
  compare("carry_logits, folded and alone, " + std::to_string(classes) + " classes", result, expected);
}

// The upsampled logit of each label must be the largest, but for rounding.
void check_labels(int64_t classes, bool are_classes_side_by_side, int threads) {
  const int64_t height = 31, width = 37;
  LogitSizes size{classes, 4, 5, 20, 5, 1};
  if (are_classes_side_by_side) size.class_stride = 1, size.row_stride = 5 * classes, size.column_stride = classes;
  std::vector<float> logits = random_numbers(classes * 20);
  std::vector<uint8_t> labels(height * width, 255);
  double error = labels_from_logits(logits.data(), size, labels.data(), height, width, threads) ? 0 : 1;
  for (int64_t pixel = 0; pixel < height * width; ++pixel) {
    const double y = enlarged(pixel / width, height, size.height), x = enlarged(pixel % width, width, size.width);
    Doubles values;
    for (int64_t label = 0; label < classes; ++label) {
      values.push_back(bilinear(&logits[label * size.class_stride], size.height, size.width, y, x, size.row_stride,
                                size.column_stride));
    }
    const double largest = *std::max_element(values.begin(), values.end());
    error = std::max(error, labels[pixel] < classes ? largest - values[labels[pixel]] : 1);
  }
  report("labels_from_logits, " + std::to_string(classes) + (are_classes_side_by_side ? " side by side" : " apart"),
         error, 1e-6);
  logits[7] = std::numeric_limits<float>::quiet_NaN();
  const bool is_seen = !labels_from_logits(logits.data(), size, labels.data(), height, width, threads);
  report("labels_from_logits sees a nan", is_seen ? 0 : 1, 0);
}

// --- A camera's picture, what moved in it, and a step of training -------------------------------------------------------

void check_halved_image(int threads) {
  const int64_t height = 6, width = 34;
  const auto image = random_numbers<uint8_t>(height * width * 3, 0, 256);
  const float mean[] = {123.7f, 116.3f, 103.5f}, deviation[] = {58.4f, 57.1f, 57.4f};
  Doubles expected;
  for (int64_t row = 0; row < height; row += 2) {
    for (int64_t column = 0; column < width; column += 2) {
      for (int64_t colour = 0; colour < 3; ++colour) {
        const uint8_t* pixel = &image[(row * width + column) * 3 + colour];
        const double four = pixel[0] + pixel[3] + pixel[width * 3] + pixel[width * 3 + 3];
        expected.push_back((four / 4 - mean[colour]) / deviation[colour]);
      }
    }
  }
  std::vector<float> result(expected.size(), 7);
  halve_image(image.data(), height, width, mean, deviation, result.data(), threads);
  compare("halve_image", result, expected);
}

// A smooth picture moved by a part of a pixel; at its edge, which comes into sight, nobody knows the motion.
void check_flow() {
  const FlowSize size{64, 80};
  const int64_t edge = 16;
  const double x_shift = 1.5, y_shift = -0.75;
  std::vector<uint8_t> current, key;
  const auto grey = [](double x, double y) {
    return static_cast<uint8_t>(128.5 + 60 * std::sin(0.31 * x + 0.2 * y) + 40 * std::sin(0.17 * x - 0.29 * y + 1));
  };
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      current.push_back(grey(x, y));
      key.push_back(grey(x - x_shift, y - y_shift));
    }
  }
  std::vector<float> flow(2 * size.height * size.width, 0);
  find_flow(current.data(), key.data(), flow.data(), size);
  double error = 0;
  for (int64_t y = edge; y < size.height - edge; ++y) {
    for (int64_t x = edge; x < size.width - edge; ++x) {
      const float* found = &flow[2 * (y * size.width + x)];
      error = std::max({error, std::abs(found[0] - x_shift), std::abs(found[1] - y_shift)});
    }
  }
  report("find_flow", error, 0.1);
}

// The first step of Adam goes by the learning rate against the sign of the gradient, whose moments are in proportion.
void check_classifier_step(int64_t classes) {
  constexpr int64_t inputs = 5, parts = 2, hidden = 64, places = 75;  // two blocks and a part
  const TrainingSizes size{inputs, parts, classes, places, 1, 0.02f, 0.5f};
  const int64_t outputs = parts * classes, second = (inputs + 1) * hidden, second_bias = second + outputs * hidden;
  const int64_t count = second_bias + outputs;
  const auto picture = random_numbers(places * inputs);
  std::vector<float> targets(places * outputs, 0), weights = random_numbers(count, -0.5, 0.5);
  std::vector<int64_t> chosen;
  for (int64_t place = 0; place < places; ++place) {
    for (int64_t part = 0; part < parts; ++part) targets[place * outputs + part * classes + (place + part) % classes] = 1;
    chosen.push_back(place);
  }
  Doubles gradient(count);
  for (int64_t index = 0; index < count; ++index) gradient[index] = size.weight_decay * weights[index];
  for (int64_t place = 0; place < places; ++place) {
    Doubles units(hidden), scores(outputs), sums(parts), slopes(hidden);
    for (int64_t unit = 0; unit < hidden; ++unit) {
      units[unit] = weights[inputs * hidden + unit];
      for (int64_t input = 0; input < inputs; ++input) {
        units[unit] += static_cast<double>(picture[place * inputs + input]) * weights[input * hidden + unit];
      }
      units[unit] = std::max(units[unit], 0.0);
    }
    for (int64_t output = 0; output < outputs; ++output) {
      scores[output] = weights[second_bias + output];
      for (int64_t unit = 0; unit < hidden; ++unit) {
        scores[output] += units[unit] * weights[second + output * hidden + unit];
      }
      sums[output / classes] += std::exp(scores[output]);
    }
    for (int64_t output = 0; output < outputs; ++output) {
      const double probability = std::exp(scores[output]) / sums[output / classes];
      const double error = (probability - targets[place * outputs + output]) / (places * parts);
      gradient[second_bias + output] += error;
      for (int64_t unit = 0; unit < hidden; ++unit) {
        gradient[second + output * hidden + unit] += error * units[unit];
        if (units[unit] > 0) slopes[unit] += error * weights[second + output * hidden + unit];
      }
    }
    for (int64_t unit = 0; unit < hidden; ++unit) {
      gradient[inputs * hidden + unit] += slopes[unit];
      for (int64_t input = 0; input < inputs; ++input) {
        gradient[input * hidden + unit] += static_cast<double>(picture[place * inputs + input]) * slopes[unit];
      }
    }
  }
  std::vector<float> first_moment(count, 0), second_moment(count, 0);
  step_classifier(picture.data(), targets.data(), chosen.data(), weights.data(), first_moment.data(),
                  second_moment.data(), size);
  for (double& slope : gradient) slope *= 0.1;
  compare("step_classifier", first_moment, gradient);
}

void check_all(int threads) {
  check_convolution<float>("float", convolve_float, feature_gradient_float, kernel_gradient_float, threads);
  check_convolution<double>("double", convolve_double, feature_gradient_double, kernel_gradient_double, threads);
  check_matched_transport(threads);
  for (int64_t classes : {3, 11}) {
    for (bool choice : {false, true}) {
      check_carried_logits(classes, choice, threads);
      if (choice) check_mixed_logits(classes, threads);
      check_labels(classes, choice, threads);
    }
  }
  check_halved_image(threads);
  check_classifier_step(11);
  check_flow();
}

}  // namespace

int main() {  // one copy of the kernels after the other
  for (int cpu = 0; cpu <= best_cpu(); ++cpu) {
    for (int threads : {1, 3}) {
      std::printf("copy %d, threads: %d\n", use_cpu(cpu), threads);
      check_all(threads);
    }
  }
  return failures == 0 ? 0 : 1;
}
