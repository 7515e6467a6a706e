// Certificates of the simulation's clients, made once: keys made anew would differ from run to run, and take long. The private
// parts and the password are of no use anywhere else; what of them must be in no event is what checkers look for (`CANARIES`).

export interface Fixture {
  readonly thumbprint: string;
  readonly certificateFormat: "pfx" | "cer";
  /** Base64 of PKCS#12, whose password takes one round to check, or of DER. */
  readonly data: string;
  readonly password?: string;
}

export const CERTIFICATES: readonly Fixture[] = [
  {
    thumbprint: "1e2e8f9d7ae6e2fad2aff2609b83e6353a7ed7b3", certificateFormat: "pfx", password: "Canary-of-a-password-1",
    data:
      "MIID5gIBAzCCA7AGCSqGSIb3DQEHAaCCA6EEggOdMIIDmTCCAlEGCSqGSIb3DQEHBqCCAkIwggI+AgEAMIICNwYJKoZIhvcNAQcBMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAb" +
      "BAhghlgyfDurYgIBATAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ90rYN8WqAb4MOGfsCFMJvoCCAdAj1cmZDNDuqzwhs9ijNHv1b9NkzVnv3NOf0SqKcbSoKgucIAMsyHNMT/mo" +
      "Z7tHX0yOyKLov1RJzYL3jhcE4yZlKpEf38oEwVOTQyxruSVkaFgF01ME8p4gEEtxdM0QTNq1xP38iemg/F3VvLM1d4Yju44IJftON25GQB377giga8d2d7XUlJIvr5qfq6xbfpTZG7i5" +
      "5eZTlIMneG0F1mqMboFBZBXRYTEftJd5KKsEGgK+mhxUUsW+uZMExrDGd3SOfJB0xok3xav+oaGXIitikxWpiDguzmbqX5O/6FkFvkHC6HHw9wN9PfRct3gs8ck9tDSxoKBAuqJv+4Te" +
      "TidyrG+2/M0+RrKZwPZtlKKVJAeYWp3RGCYAWjKY9Nq2G8qSCunE78sPoafNas4Re6Umkmys8SKRBDdS6W08NmURfsO53oi1kR/45wQ49jXPU85Tlmay6HsB9Teiw4AT0++0AWMQg1Ec" +
      "tlAkQBy4zMbk6hQXY5b++yEsYU0saWZQZoM7gBs04AxWrpqp0fQ6/OFHlLizuY9Jdqfs9OQPbp550lf4BcNBwbzEe/Vvt+0R8uYd+W8B6cW/430/R01q+L7gUpnisPK8u6UQxpo5RlCg" +
      "ojCCAUAGCSqGSIb3DQEHAaCCATEEggEtMIIBKTCCASUGCyqGSIb3DQEMCgECoIHuMIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAjyckHI+S1v/wIBATAMBggqhkiG9w0C" +
      "CQUAMB0GCWCGSAFlAwQBKgQQS7su3lFHYnmFAteyB5CsJwSBkH/WTBdvamPatC7NeiEzpyxon6tEuCcBcFnT8cV4IwBKKWi4mgow+WiKXjzaAyPtPEitykGaAJ+76hnbOZfQUxeiSS4v" +
      "EByCnBP9WAkbhNxIND+yk50kuBd7RwsCe7D0vHzozP5mQqVX8ajkBXojJfPG80K6wmIz5MIhHgZBWa+6Va+y28l//ANGHoL0BVm8MzElMCMGCSqGSIb3DQEJFTEWBBQeLo+deubi+tKv" +
      "8mCbg+Y1On7XszAtMCEwCQYFKw4DAhoFAAQUcSbJEtTbcBelPMQ3iQaBe1UoZS8ECOQGXX1tBWli",
  },
  {
    thumbprint: "ace8222cd4f1847f009929449b41e704ae904ba6", certificateFormat: "pfx",
    data:
      "MIID5gIBAzCCA7AGCSqGSIb3DQEHAaCCA6EEggOdMIIDmTCCAlEGCSqGSIb3DQEHBqCCAkIwggI+AgEAMIICNwYJKoZIhvcNAQcBMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAb" +
      "BAj020zxxZGMLgIBATAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQulqXStSuklMVaNVwoibKMYCCAdAZHauA80Ka69xX3Pogv7Q9/E11W2bUOrerNGvaAxNvB+j5u/NqRCnzqxK6" +
      "AshQQYf7E8A4eZ/u1z9vMqOWwKsI2QLOXb1F7/TrpQxwbu1SC+e8Skk/j/FoZWGxhn/O6RWsDJ9GswwxY1SowJZgBmavL7tK/sWT9/qsuJK38HOaXYTBPmuiIFUeBJG9RtxA3X2jFrcG" +
      "9gLluIyMfTTHs+uDYRbAFdx9eunrYGXlwHOaEhba7Nd4NzdDCI+Bxy9T89HbxOOr5O8LfdWKpQ1epo5QSVSXkd376E5PDwgZz1NWNW02DuhKPpxjR+JVbPNeXlfMY2/Vzi9eND0+Ln5n" +
      "pmkOmdVPICpTi2pk3gqREFCF5SZo6Rj3oIedVNd+L3dHSZCFsjk/w7fu/FimAGeDOKkuRZoa7IFceXYc8oeU5l0JkvVC2NiQurLNkv0oKw9UO2dj9BpmglVt+YfxIyATRK2KIsVUlLtE" +
      "j9JMyUPEPcErzxRA8vwjaeAJQ7oV2Djd6FnDSmGrkXAsSLkWTeKwVY1XKogu2QAwXZC2EIf0MCJqKz3XBkYkyLroUc7yEUTvxkMkR2JqFT0zhtRFFp4nfLIf92AIwKQ3a2EaiPZsn3G3" +
      "0DCCAUAGCSqGSIb3DQEHAaCCATEEggEtMIIBKTCCASUGCyqGSIb3DQEMCgECoIHuMIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAhKNfxvfTQRNQIBATAMBggqhkiG9w0C" +
      "CQUAMB0GCWCGSAFlAwQBKgQQc3NtP6MtSGmXqvh1pzRr1gSBkBVIzjjDTRJhbYt8xJJGagUBp0SwooJna94OuSDepQi7jdHg4J4e+vXHlDveg3Wgt7GgNKiRTb6V+o3GiWoPz72QrsHB" +
      "HVA8epUwpzhZB1BBJPtTTqcBUogqgjmbEt3SqL8PWuoFUtwSmHVcjls8TMGAyYWpxcB17RP3T7PiENsNI8AeYCSoA1p582eG6voRMTElMCMGCSqGSIb3DQEJFTEWBBSs6CIs1PGEfwCZ" +
      "KUSbQecErpBLpjAtMCEwCQYFKw4DAhoFAAQUaPOImFp9p1dJx8bevLGRCYsGdHkECH66on2r6IBV",
  },
  {
    thumbprint: "50b782ab0a02eb00ee795e912c2f05e8163906fb", certificateFormat: "cer",
    data:
      "MIIBZDCCAQmgAwIBAgICAQMwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEc2ltMzAgFw0yNjExMjQyMDI4MDZaGA8yMTI2MTAzMTIwMjgwNlowDzENMAsGA1UEAwwEc2ltMzBZMBMGByqG" +
      "SM49AgEGCCqGSM49AwEHA0IABP0ji3JaRwP2G4b0UAO3RR2J8SbdN1jMFHskelxQgoTViJgb44bfZskXcCSEbTq8ItgVMjnT9LTT6oA0EyAIMeujUzBRMB0GA1UdDgQWBBR6izmJR3bs" +
      "X8nn6KdGqcDJI9TvWDAfBgNVHSMEGDAWgBR6izmJR3bsX8nn6KdGqcDJI9TvWDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCh5ovcwav0r2rmeQlk0FS52P5UOVFj" +
      "30Gos8ofhvK2wwIhAN/fXe5nwuch6dicIi0mmPekUZsuRPa9q+FM8kTlVHY6",
  },
];
