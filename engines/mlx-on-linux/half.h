/* mlx-c declares its functions for 16-bit floats on ARM only. This header says that they exist here too. It comes before
 * everything else in mlx-c's C++ source, and before its C headers where their bindings are made. */
#ifndef INFEROMETER_MLX_HALF_H
#define INFEROMETER_MLX_HALF_H

#ifndef __aarch64__
#define HAS_FLOAT16
#define HAS_BFLOAT16

#ifdef __cplusplus
/* MLX's own types: on this processor they are structures around 16 bits. */
#include <mlx/types/half_types.h>
typedef mlx::core::float16_t float16_t;
typedef mlx::core::bfloat16_t bfloat16_t;
#else
/* The names that the bindings have on ARM. */
typedef __fp16 float16_t;
typedef unsigned short bfloat16_t;
#endif
#endif

#endif
