/* The guest's end of the agent channel: the second port of the virtio console. v86 has only
 * ports that are terminals, so there it is /dev/hvc1; on our own board it is a stream of bytes,
 * /dev/vportNp1 for the console that is virtio device N.
 *
 * After a restore the guest's clock stands at the time of the save, and its random numbers
 * are those of every other copy of the snapshot. The machine's owner then sends a frame:
 *
 *   offset  bytes  content
 *        0      8  "WAKEvm01"
 *        8      8  time of day: seconds since 1970, little endian
 *       16      4  and nanoseconds
 *       20     32  random bytes
 *
 * The clock is set, the bytes go into the kernel's entropy pool, and its generator is
 * reseeded at once. Bytes that begin no frame are passed over, so
 * that the two ends find each other again after a frame that was cut short.
 *
 * No C library: the system calls are few (Linux, arch/x86/entry/syscalls), and a program of
 * one page costs an emulated processor next to nothing to start.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef long long i64;

#if defined(__i386__)
enum { READ = 3, OPEN = 5, PAUSE = 29, IOCTL = 54, NANOSLEEP = 162, CLOCK_SETTIME = 404 };
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}
#elif defined(__x86_64__)
enum { READ = 0, OPEN = 2, IOCTL = 16, PAUSE = 34, NANOSLEEP = 35, CLOCK_SETTIME = 227 };
static long call(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
}
#endif

enum { O_RDWR = 2, O_NOCTTY = 0400, CLOCK_REALTIME = 0 };
enum { TCGETS = 0x5401, TCSETS = 0x5402, RNDADDENTROPY = 0x40085203, RNDRESEEDCRNG = 0x5207 };
enum { MAGIC = 8, SEED = 32 };
enum { DEVICES = 10 }; /* one digit */

/* asm-generic/termbits.h: four words of flags come first. */
struct modes { u32 input, output, control, local; u8 rest[64]; };
struct pool { u32 bits, size; u8 bytes[SEED]; };
struct time { i64 seconds, nanoseconds; };
struct __attribute__((packed)) frame { u8 magic[MAGIC]; i64 seconds; u32 nanoseconds; u8 seed[SEED]; };

static const u8 MAGIC_BYTES[MAGIC] = { 'W', 'A', 'K', 'E', 'v', 'm', '0', '1' };
static union { struct frame frame; u8 bytes[sizeof(struct frame)]; } received;

/* Raw bytes: no echo, no signals, no translation. */
static void raw(long port) {
  static struct modes modes;
  if (call(IOCTL, port, TCGETS, (long)&modes) < 0) return;
  modes.input = modes.output = modes.local = 0;
  call(IOCTL, port, TCSETS, (long)&modes);
}

static void wake(long random) {
  static struct pool pool;
  struct time now = { received.frame.seconds, received.frame.nanoseconds };
  call(CLOCK_SETTIME, CLOCK_REALTIME, (long)&now, 0);
  pool.bits = SEED * 8;
  pool.size = SEED;
  for (u32 at = 0; at < SEED; at++) {
    pool.bytes[at] = received.frame.seed[at];
    received.frame.seed[at] = 0;
  }
  call(IOCTL, random, RNDADDENTROPY, (long)&pool);
  call(IOCTL, random, RNDRESEEDCRNG, 0);
}

/* The port, or an error if this machine has none. */
static long open_port(void) {
  static char stream[] = "/dev/vport0p1";
  long port = call(OPEN, (long)"/dev/hvc1", O_RDWR | O_NOCTTY, 0);
  for (u32 device = 0; port < 0 && device < DEVICES; device++) {
    stream[10] = '0' + device;
    port = call(OPEN, (long)stream, O_RDWR | O_NOCTTY, 0);
  }
  return port;
}

void _start(void) {
  long port = open_port();
  long random = call(OPEN, (long)"/dev/urandom", O_RDWR, 0);
  static const long second[2] = { 1, 0 };
  u32 have = 0;
  raw(port);
  for (;;) {
    long got = port < 0 ? port : call(READ, port, (long)&received.bytes[have], 1);
    if (got < 0) break;
    if (got == 0) {
      /* The other end is not open yet. */
      call(NANOSLEEP, (long)second, 0, 0);
      continue;
    }
    if (have < MAGIC && received.bytes[have] != MAGIC_BYTES[have]) {
      /* "W" begins only the magic itself, so nothing before it can be part of another. */
      received.bytes[0] = received.bytes[have];
      have = received.bytes[0] == MAGIC_BYTES[0];
      continue;
    }
    if (++have < sizeof(struct frame)) continue;
    wake(random);
    have = 0;
  }
  /* No such port: this machine is never restored. */
  for (;;) call(PAUSE, 0, 0, 0);
}
