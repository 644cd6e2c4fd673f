// tone_server.c - `stemforge serve` whose models may be of one more family, which makes a tone
// (tests/tone): the same process, engine, sockets, database and storage, for tests of everything
// around the model. Never part of the product.
#include "app/commands.h"

int main(int argc, char **argv) {
    return serve_main(argc, argv);
}
