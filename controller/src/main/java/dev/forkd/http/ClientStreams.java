package dev.forkd.http;

import io.helidon.common.buffers.DataReader;
import io.helidon.common.socket.SocketWriterException;
import io.helidon.webserver.CloseConnectionException;
import java.io.FilterInputStream;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;

/** The server's streams with its many ways to say that the client is gone turned into one. */
final class ClientStreams {
  private ClientStreams() {}

  @FunctionalInterface
  private interface Transfer {
    int run() throws IOException;
  }

  private static int guarded(Transfer transfer) throws IOException {
    try {
      return transfer.run();
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } catch (CloseConnectionException
        | SocketWriterException
        | DataReader.InsufficientDataAvailableException e) {
      throw new IOException("the client went away", e);
    }
  }

  static OutputStream output(OutputStream out, TransferGuard transfers, Cut cut) {
    return new FilterOutputStream(out) {
      @Override
      public void write(int b) throws IOException {
        write(new byte[] {(byte) b}, 0, 1);
      }

      @Override
      public void write(byte[] bytes, int from, int count) throws IOException {
        if (count == 0) {
          return; // The server would write a chunk of no bytes, which ends the answer.
        }
        guarded(() -> {
          transfers.run(count, cut, () -> out.write(bytes, from, count));
          return count;
        });
      }

      @Override
      public void flush() throws IOException {
        guarded(() -> {
          transfers.run(0, cut, out::flush);
          return 0;
        });
      }

      @Override
      public void close() throws IOException {
        guarded(() -> {
          transfers.run(0, cut, out::close);
          return 0;
        });
      }
    };
  }

  /** Input that may be silent for as long as it likes. */
  static InputStream patient(InputStream in, Cut cut) {
    return new FilterInputStream(in) {
      @Override
      public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
      }

      @Override
      public int read(byte[] bytes, int from, int count) throws IOException {
        cut.check();
        return guarded(() -> in.read(bytes, from, count));
      }
    };
  }

  static InputStream input(InputStream in, TransferGuard transfers, Cut cut) {
    return new FilterInputStream(in) {
      @Override
      public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
      }

      @Override
      public int read(byte[] bytes, int from, int count) throws IOException {
        return guarded(() -> {
          int[] got = {-1};
          transfers.run(0, cut, () -> got[0] = in.read(bytes, from, count));
          return got[0];
        });
      }

      @Override
      public void close() throws IOException {
        guarded(() -> {
          transfers.run(0, in::close);
          return 0;
        });
      }
    };
  }
}
