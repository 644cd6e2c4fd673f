// ogg.h - Ogg pages: a stream serial number of our choice, and a check of the checksums.
//
// libsndfile draws the serial number at random, which would make the same sound different bytes;
// and it leaks memory when it meets a damaged page, so damage is found before it looks.
#pragma once
#include "base/err.h"

// Sets the serial number of every page in the file [n] and recomputes the pages' checksums (RFC
// 3533). ERR_FORMAT when it is not a row of whole pages; the bytes before are then already changed.
status ogg_set_serial(uint8_t *file, size_t n, uint32_t serial, err *e);

// OK when the image is a row of whole pages with right checksums, else ERR_FORMAT.
status ogg_check(bytes image, err *e);
