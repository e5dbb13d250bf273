package dev.forkd.guest;

/**
 * One frame of the agent channel: an 8-byte header (u32 stream, u16 length, u8 type, u8 flags,
 * little-endian) and its payload.
 *
 * @param stream 0 for the connection itself, else the request it belongs to
 * @param flags meaning depends on the type: a {@link Channel} or {@link #MORE}
 */
@SuppressWarnings("ArrayRecordComponent")
record Frame(int stream, int type, int flags, byte[] payload) {
  static final int HEADER_BYTES = 8;
  static final int MAX_PAYLOAD_BYTES = 16384;

  /** More frames of the same type follow and are to be joined. */
  static final int MORE = 1;

  static final int SYNC = 1;
  static final int OPEN = 2;
  static final int DATA = 3;
  static final int EOF = 4;
  static final int WINDOW = 5;
  static final int SIGNAL = 6;
  static final int CANCEL = 7;
  static final int END = 8;
  static final int ERROR = 9;
  static final int IDLE = 10;
  static final int READY = 11;
  static final int CLOCK = 12;
  static final int NOTE = 13;

  /** Channels of a stream's data. */
  static final int CHANNEL_INPUT = 0;

  static final int CHANNEL_OUTPUT = 1;
  static final int CHANNEL_ERROR = 2;
  static final int CHANNELS = 3;

  /** Bytes each side may send on a channel before it hears that they were taken. */
  static final int INITIAL_CREDIT_BYTES = 262144;
}
