package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.ByteArrayOutputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.commons.compress.archivers.tar.TarConstants;
import org.apache.commons.compress.archivers.tar.TarUtils;

/**
 * Looks for extended attributes in a tar archive while somebody else reads it. The archive library
 * gives the values of PAX records as text, which ruins those that are bytes, such as a program's
 * capabilities.
 */
final class XattrReader extends FilterInputStream {
  static final String RECORD = "SCHILY.xattr.";
  private static final int BLOCK = 512;
  private static final int SIZE_OFFSET = 124;
  private static final int SIZE_LENGTH = 12;
  private static final int TYPE_OFFSET = 156;
  private static final byte TYPE_SOLARIS_PAX = 'X';

  /** Where a header, and each block that continues it, says that another one follows. */
  private static final int SPARSE_MORE_OFFSET = 482;

  private static final int SPARSE_STILL_MORE_OFFSET = 504;

  /** Linux takes no attribute above 64 KiB. */
  private static final int MAX_RECORDS_BYTES = 1 << 20;

  private static final Pattern LENGTH = Pattern.compile("[0-9]{1,7}");
  private static final long MAX_KEPT_BYTES = 64L << 20;

  private final Map<Integer, Map<String, byte[]>> found = new HashMap<>();
  private final byte[] block = new byte[BLOCK];
  private final ByteArrayOutputStream records = new ByteArrayOutputStream();
  private State state = State.HEADER;
  private int filled;
  private long data;
  private long padding;
  private int ordinal;
  private long keptBytes;
  private Map<String, byte[]> ahead = new TreeMap<>();
  private long sizeAhead = -1;

  private enum State {
    HEADER,
    SPARSE,
    RECORDS,
    DATA,
    END
  }

  XattrReader(InputStream in) {
    super(in);
  }

  /** Attributes by the number of their entry, counted from 0; of what was read so far. */
  Map<Integer, Map<String, byte[]>> found() {
    return found;
  }

  @Override
  public int read() throws IOException {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
  }

  @Override
  public int read(byte[] bytes, int offset, int length) throws IOException {
    int n = super.read(bytes, offset, length);
    if (n > 0) {
      take(bytes, offset, n);
    }
    return n;
  }

  @Override
  public long skip(long n) throws IOException {
    byte[] passed = new byte[(int) Math.min(n, 1 << 16)];
    return Math.max(0, read(passed, 0, passed.length));
  }

  @Override
  public boolean markSupported() {
    return false;
  }

  private void take(byte[] bytes, int offset, int length) throws IOException {
    int at = offset;
    int end = offset + length;
    while (at < end && state != State.END) {
      int n;
      switch (state) {
        case HEADER, SPARSE -> {
          n = Math.min(end - at, BLOCK - filled);
          System.arraycopy(bytes, at, block, filled, n);
          filled += n;
          if (filled == BLOCK) {
            filled = 0;
            block();
          }
        }
        case RECORDS -> {
          n = (int) Math.min(end - at, data);
          records.write(bytes, at, n);
          data -= n;
          if (data == 0) {
            records(records.toByteArray());
            records.reset();
            state = State.DATA;
          }
        }
        default -> {
          n = (int) Math.min(end - at, data + padding);
          long ofData = Math.min(n, data);
          data -= ofData;
          padding -= n - ofData;
        }
      }
      at += n;
      if (state == State.DATA && data + padding == 0) {
        state = State.HEADER;
      }
    }
  }

  private void block() {
    if (state == State.SPARSE) {
      state = block[SPARSE_STILL_MORE_OFFSET] == 0 ? State.DATA : State.SPARSE;
      return;
    }
    if (Arrays.equals(block, new byte[BLOCK])) {
      state = State.END;
      return;
    }
    byte type = block[TYPE_OFFSET];
    long size = size();
    if (type == TarConstants.LF_PAX_EXTENDED_HEADER_LC || type == TYPE_SOLARIS_PAX) {
      if (size > MAX_RECORDS_BYTES) {
        throw invalid("an entry has " + size + " bytes of attributes");
      }
      begin(size);
      state = size == 0 ? State.DATA : State.RECORDS;
      return;
    }
    boolean named =
        type == TarConstants.LF_PAX_GLOBAL_EXTENDED_HEADER
            || type == TarConstants.LF_GNUTYPE_LONGNAME
            || type == TarConstants.LF_GNUTYPE_LONGLINK;
    if (named) {
      begin(size);
    } else {
      begin(sizeAhead >= 0 ? sizeAhead : size);
      if (!ahead.isEmpty()) {
        found.put(ordinal, ahead);
      }
      ordinal++;
      ahead = new TreeMap<>();
      sizeAhead = -1;
    }
    boolean sparse = type == TarConstants.LF_GNUTYPE_SPARSE && block[SPARSE_MORE_OFFSET] != 0;
    state = sparse ? State.SPARSE : State.DATA;
  }

  private long size() {
    try {
      return Math.max(0, TarUtils.parseOctalOrBinary(block, SIZE_OFFSET, SIZE_LENGTH));
    } catch (IllegalArgumentException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the OCI image cannot be used: a layer is no tar archive; export it again",
          e);
    }
  }

  private void begin(long size) {
    data = size;
    padding = (BLOCK - size % BLOCK) % BLOCK;
  }

  /** Each is its length in decimal digits, a space, a name, an equals sign, a value, a newline. */
  private void records(byte[] text) {
    int at = 0;
    while (at < text.length && text[at] >= '0' && text[at] <= '9') {
      int space = indexOf(text, at, ' ');
      int equals = indexOf(text, space, '=');
      String digits = ascii(text, at, Math.max(at, space));
      long length = LENGTH.matcher(digits).matches() ? Long.parseLong(digits) : 0;
      if (equals < 0 || length < equals - at + 2 || at + length > text.length) {
        throw invalid("a record of attributes is cut short");
      }
      int end = (int) (at + length);
      record(
          new String(text, space + 1, equals - space - 1, StandardCharsets.UTF_8),
          Arrays.copyOfRange(text, equals + 1, end - 1));
      at = end;
    }
  }

  private void record(String name, byte[] value) {
    if (name.equals("size")) {
      try {
        sizeAhead = Long.parseLong(ascii(value, 0, value.length).strip());
      } catch (NumberFormatException e) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT,
            "the OCI image cannot be used: an entry's size is no number; export it again",
            e);
      }
    } else if (name.startsWith(RECORD) && isKept(name.substring(RECORD.length()))) {
      keptBytes += name.length() + value.length;
      if (keptBytes > MAX_KEPT_BYTES) {
        throw invalid("its files have more than " + MAX_KEPT_BYTES + " bytes of attributes");
      }
      ahead.put(name.substring(RECORD.length()), value);
    }
  }

  /** An overlay's own marks and labels of a policy that the guest does not have mean nothing. */
  private static boolean isKept(String name) {
    return !name.isEmpty()
        && name.indexOf('=') < 0
        && !name.startsWith("trusted.overlay.")
        && !name.startsWith("user.overlay.")
        && !name.equals("security.selinux");
  }

  private static int indexOf(byte[] text, int from, char wanted) {
    for (int i = Math.max(from, 0); i < text.length && from >= 0; i++) {
      if (text[i] == wanted) {
        return i;
      }
    }
    return -1;
  }

  private static String ascii(byte[] text, int from, int to) {
    return new String(text, from, to - from, StandardCharsets.US_ASCII);
  }

  private static ForkdException invalid(String why) {
    return new ForkdException(
        ErrorCode.INVALID_ARGUMENT, "the OCI image cannot be used: " + why + "; export it again");
  }
}
