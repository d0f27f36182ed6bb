/* Frames joined into one graph, and the offsets of neighbours numbered: what joining.py calls.
 *
 * A record of a frame is a row of RECORD whole numbers: where its columns lie in memory, then its sizes, then numbers as their bits.
 */
#include <stdint.h>
#include <string.h>

enum { SPECIES, POSITIONS, FORCES, COUNTS, NEIGHBOUR, IMAGE, IMAGES, STRESS, WEIGHT, ATOMS, EDGES, OFFSETS, THEORY, VOLUME, ENERGY, RECORD };

static const void *at(int64_t address) { return (const void *)(intptr_t)address; }

/* out (count), each place with the number of those before put on top */
static void moved(const int32_t *places, long count, int32_t before, int32_t *out)
{
    for (long i = 0; i < count; i++) out[i] = places[i] + before;
}

/* Columns of a batch, as Batch has them, out of records (frames, RECORD). */
void join(long frames, const int64_t *records, int64_t *species, double *positions, double *forces, int64_t *counts, int64_t *frame,
          int32_t *neighbour, int32_t *image, double *images, double *stress, double *weight, double *natoms, double *volume,
          double *energy, int64_t *theory)
{
    long atoms = 0, edges = 0, offsets = 0;
    for (long f = 0; f < frames; f++) {
        const int64_t *r = records + f * RECORD;
        const long n = r[ATOMS];
        memcpy(species + atoms, at(r[SPECIES]), n * sizeof *species);
        memcpy(positions + 3 * atoms, at(r[POSITIONS]), 3 * n * sizeof *positions);
        memcpy(forces + 3 * atoms, at(r[FORCES]), 3 * n * sizeof *forces);
        memcpy(counts + atoms, at(r[COUNTS]), n * sizeof *counts);
        for (long i = 0; i < n; i++) frame[atoms + i] = f;
        moved(at(r[NEIGHBOUR]), r[EDGES], (int32_t)atoms, neighbour + edges);
        moved(at(r[IMAGE]), r[EDGES], (int32_t)offsets, image + edges);
        memcpy(images + 3 * offsets, at(r[IMAGES]), 3 * r[OFFSETS] * sizeof *images);
        memcpy(stress + 9 * f, at(r[STRESS]), 9 * sizeof *stress);
        memcpy(weight + 3 * f, at(r[WEIGHT]), 3 * sizeof *weight);
        natoms[f] = (double)n;
        memcpy(volume + f, r + VOLUME, sizeof *volume);
        memcpy(energy + f, r + ENERGY, sizeof *energy);
        theory[f] = r[THEORY];
        atoms += n;
        edges += r[EDGES];
        offsets += r[OFFSETS];
    }
}

/* low and high (3): the least and largest of shifts (edges, 3), at least one. */
void reach(long edges, const int32_t *shifts, int32_t *low, int32_t *high)
{
    for (int i = 0; i < 3; i++) low[i] = high[i] = shifts[i];
    for (long e = 0; e < edges; e++)
        for (int i = 0; i < 3; i++) {
            const int32_t value = shifts[3 * e + i];
            low[i] = value < low[i] ? value : low[i];
            high[i] = value > high[i] ? value : high[i];
        }
}

/* places (edges): where each of shifts (edges, 3) stands in the block that begins at low and spans that many. */
void number(long edges, const int32_t *shifts, const int32_t *low, const int32_t *span, int32_t *places)
{
    for (long e = 0; e < edges; e++) {
        const int32_t *s = shifts + 3 * e;
        places[e] = ((s[0] - low[0]) * span[1] + s[1] - low[1]) * span[2] + s[2] - low[2];
    }
}
