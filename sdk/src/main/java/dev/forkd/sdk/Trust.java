package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Collection;
import java.util.HexFormat;
import java.util.Locale;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

/** Which certificates a client believes where the machine's own authorities do not help. */
final class Trust {
  private Trust() {}

  /** Exactly this certificate: whoever has its key is the daemon, whatever names it carries. */
  static SSLContext pinned(String sha256) {
    return context(new TrustManager[] {new Pin(sha256.strip().toLowerCase(Locale.ROOT))});
  }

  /**
   * These authorities in place of the machine's; names are checked as ever.
   *
   * @param pem one certificate or more
   * @throws ForkdException INVALID_ARGUMENT naming the file, when it cannot be used
   */
  static SSLContext authorities(Path pem) {
    try (InputStream in = Files.newInputStream(pem)) {
      Collection<? extends Certificate> certificates =
          CertificateFactory.getInstance("X.509").generateCertificates(in);
      if (certificates.isEmpty()) {
        throw new CertificateException("there is no certificate in it");
      }
      KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
      trusted.load(null, null);
      for (Certificate certificate : certificates) {
        trusted.setCertificateEntry("authority-" + trusted.size(), certificate);
      }
      TrustManagerFactory managers =
          TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      managers.init(trusted);
      return context(managers.getTrustManagers());
    } catch (IOException | GeneralSecurityException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "cannot trust the certificates in " + pem + ": " + e + "; it must be a PEM file",
          e);
    }
  }

  private static SSLContext context(TrustManager[] managers) {
    try {
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, managers, null);
      return context;
    } catch (GeneralSecurityException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "this JVM has no TLS", e);
    }
  }

  /**
   * An extended manager, as the JDK would check the host name on top of a plain one; that the
   * server has the certificate's key is proved by the handshake.
   */
  private static final class Pin extends X509ExtendedTrustManager {
    private final String sha256;

    Pin(String sha256) {
      this.sha256 = sha256;
    }

    private void check(X509Certificate[] chain) throws CertificateException {
      try {
        String shown =
            HexFormat.of()
                .formatHex(MessageDigest.getInstance("SHA-256").digest(chain[0].getEncoded()));
        if (!shown.equals(sha256)) {
          throw new CertificateException(
              "the server shows another certificate (SHA-256 "
                  + shown
                  + ") than the daemon's ("
                  + sha256
                  + ")");
        }
      } catch (GeneralSecurityException e) {
        throw e instanceof CertificateException known ? known : new CertificateException(e);
      }
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type)
        throws CertificateException {
      check(chain);
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket)
        throws CertificateException {
      check(chain);
    }

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine)
        throws CertificateException {
      check(chain);
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type)
        throws CertificateException {
      throw noClients();
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket)
        throws CertificateException {
      throw noClients();
    }

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine)
        throws CertificateException {
      throw noClients();
    }

    private static CertificateException noClients() {
      return new CertificateException("this manager is a client's; it trusts no clients");
    }

    @Override
    public X509Certificate[] getAcceptedIssuers() {
      return new X509Certificate[0];
    }
  }
}
