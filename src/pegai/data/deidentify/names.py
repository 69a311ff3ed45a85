"""What a column's name says: phrases for each identifier class in seven languages.

A name is split into words (`patientFirstName`, `patient_first_name` and `Patient first name` are
the same three), accents are taken off, and a phrase fits if its words stand side by side or run
together in one word (`first name`, `firstname`). English, German, French, Spanish, Italian, Dutch
and Portuguese.
"""

from __future__ import annotations

import re
import unicodedata

from pegai.data.deidentify.identifiers import IdentifierClass

_C = IdentifierClass

PHRASES: dict[IdentifierClass, str] = {
    # The order matters: the first class with a phrase in the name is taken.
    _C.EMAIL: (
        "email, e mail, mail address, emailadresse, mailadresse, courriel, adresse electronique, "
        "correo, correo electronico, posta elettronica, mailadres, correio eletronico"
    ),
    _C.FAX: "fax, telefax, fax number, faxnummer, numero de fax, telecopie, faxnr",
    _C.IP: "ip, ip address, ip addr, ipv, ip adresse, adresse ip, direccion ip, ip adres",
    _C.DEVICE: (
        "device id, device serial, device identifier, device number, serial number, serial no, "
        "serial nr, serialno, udi, imei, mac address, mac addr, implant serial, pacemaker serial, "
        "pacemaker id, pump serial, implant id, seriennummer, geraetenummer, gerate nr, "
        "geraete id, "
        "numero de serie, numero di serie, serienummer, apparaatnummer, matricola dispositivo"
    ),
    _C.URL: (
        "url, uri, website, web site, homepage, web page, webpage, webseite, site web, sitio web"
    ),
    _C.BIOMETRIC: (
        "biometric, biometrics, fingerprint, finger print, iris scan, iris code, iris template, "
        "retina scan, retinal scan, voiceprint, voice print, faceprint, face template, face id, "
        "palm print, dna profile, genotype id, fingerabdruck, empreinte digitale, empreintes, "
        "huella, huella digital, huella dactilar, impronta digitale, vingerafdruk, "
        "impressao digital, biometria, biometrie"
    ),
    _C.PHOTO: (
        "photo, photograph, picture, portrait, headshot, selfie, image file, image path, "
        "image filename, photo file, face image, foto, lichtbild, passfoto, bilddatei, "
        "imagen, retrato, immagine, fotografia, afbeelding, imagem, image name"
    ),
    _C.VEHICLE: (
        "vin, vehicle id, vehicle identification, vehicle number, license plate, licence plate, "
        "plate number, number plate, numberplate, registration plate, kennzeichen, "
        "kfz kennzeichen, fahrgestellnummer, fin nummer, immatriculation, matricula, "
        "bastidor, targa, telaio, kenteken, chassi, chassis number"
    ),
    _C.LICENCE: (
        "license number, licence number, license no, licence no, licence nr, driver license, "
        "driver licence, "
        "drivers license, drivers licence, driving licence, driving license, drivers, passport, "
        "certificate number, certificate no, npi, dea number, dea no, medical license, "
        "fuhrerschein, fuehrerschein, fuhrerscheinnummer, fuehrerscheinnummer, reisepass, "
        "approbation, permis, permis de conduire, passeport, carnet de conducir, "
        "permiso de conducir, pasaporte, patente di guida, passaporto, rijbewijs, paspoort, "
        "carta de conducao, cnh, passaporte, crm number, big nummer, lanr"
    ),
    _C.HEALTH_PLAN: (
        "health plan, plan number, plan id, plan no, member id, member number, beneficiary, "
        "beneficiary id, "
        "insurance number, insurance no, insurance id, insurance policy, policy number, policy no, "
        "policy id, "
        "subscriber id, medicare number, medicare id, medicaid id, medicaid number, hicn, "
        "versichertennummer, versicherungsnummer, versicherten nr, versicherungs nr, "
        "krankenkassennummer, krankenversichertennummer, kvnr, numero d assure, numero assure, "
        "numero de mutuelle, numero mutuelle, poliza, tarjeta sanitaria, numero de afiliado, "
        "tessera sanitaria, polizza, polisnummer, verzekeringsnummer, verzekerdennummer, apolice, "
        "cartao sus, numero de utente, carteirinha"
    ),
    _C.NATIONAL_ID: (
        "ssn, social security, social security number, social insurance, social insurance number, "
        "national id, national identifier, national number, nhs number, nhs no, nhs num, "
        "nhsnumber, "
        "chi number, national insurance, nino, tax id, tax number, taxpayer, aadhaar, pesel, ahv, "
        "ahv nummer, svnr, sozialversicherungsnummer, sozialversicherungs nr, sv nummer, "
        "steuer id, steueridentifikationsnummer, steuernummer, personalausweis, ausweisnummer, "
        "numero de securite sociale, numero securite sociale, securite sociale, numero insee, "
        "seguridad social, numero de seguridad social, documento de identidad, dni, "
        "codice fiscale, "
        "codicefiscale, bsn, burgerservicenummer, rijksregisternummer, cpf, "
        "cartao de cidadao, cartao cidadao, personnummer, fodselsnummer, cpr number, cpr nummer, "
        "henkilotunnus, id card, identity card, identity number, personal number, personal id"
    ),
    _C.MEDICAL_RECORD: (
        "mrn, medical record, medical record number, med rec, record number, chart number, "
        "chart no, chart id, "
        "patient id, patient no, patient nr, patient number, patient num, patient identifier, "
        "patient code, patient key, pat id, pat no, pat nr, patid, person id, subject id, "
        "subject no, participant id, participant no, client id, case id, case number, case no, "
        "hospital number, hospital no, hospital id number, admission id, admission number, "
        "hadm id, "
        "icustay id, stay id, encounter id, encounter number, visit id, visit number, episode id, "
        "patientenid, patienten id, patientennummer, patienten nr, fallnummer, fall nr, fall id, "
        "aktenzeichen, aktennummer, pseudonym, numero de dossier, numero dossier, "
        "id paciente, paciente id, numero de paciente, historia clinica, numero de historia, nhc, "
        "id paziente, codice paziente, numero paziente, cartella, cartella clinica, "
        "patientnummer, dossiernummer, opnamenummer, numero do paciente, prontuario, "
        "numero do prontuario, numero de processo"
    ),
    _C.PHONE: (
        "phone, phone number, telephone, phone no, mobile number, mobile no, mobile phone, "
        "cell phone, "
        "cellphone, tel, tel no, tel nr, contact number, contact no, emergency contact number, "
        "pager, telefon, telefonnummer, telefonnr, handynummer, handy nr, mobilnummer, "
        "mobiltelefon, "
        "rufnummer, telephone portable, numero de telephone, gsm, telefono, telefono movil, "
        "movil, cellulare, telefoon, telefoonnummer, mobiel, telefone, telemovel, celular"
    ),
    _C.ACCOUNT: (
        "account number, account no, account nr, account id, acct, acct no, bank account, iban, "
        "bban, credit card, card number, card no, creditcard, debit card, cc number, "
        "billing number, billing id, billing account, invoice number, invoice no, invoice id, "
        "claim id, claim number, konto, kontonummer, konto nr, bankverbindung, kreditkarte, "
        "rechnungsnummer, numero de compte, carte bancaire, cuenta, numero de cuenta, "
        "tarjeta de credito, conto, conto corrente, numero conto, carta di credito, "
        "rekeningnummer, rekening, conta, conta bancaria, numero da conta, factura numero"
    ),
    _C.NAME: (
        "first name, last name, surname, forename, given name, family name, middle name, "
        "maiden name, full name, fname, lname, patient name, person name, client name, "
        "subject name, participant name, member name, mother name, mothers name, father name, "
        "fathers name, spouse name, guardian name, contact name, next of kin, emergency contact, "
        "doctor name, physician name, provider name, nurse name, surgeon name, clinician name, "
        "employer name, employer, nickname, alias, initials, attending physician, "
        "vorname, nachname, familienname, geburtsname, rufname, patientenname, vollstandiger name, "
        "arztname, prenom, nom de famille, nom patient, nom du patient, nom complet, "
        "nom de naissance, nombre, nombre completo, nombre paciente, apellido, apellidos, "
        "primer apellido, segundo apellido, cognome, nome, nome completo, nome paziente, "
        "nominativo, voornaam, achternaam, familienaam, tussenvoegsel, volledige naam, "
        "sobrenome, apelido, nome do paciente, nome da mae, nome social"
    ),
    _C.GEOGRAPHY: (
        "address, address line, addr, street, street name, house number, city, town, village, "
        "county, municipality, parish, district, precinct, neighborhood, neighbourhood, suburb, "
        "zip, zip code, zip5, zip9, zipcode, postcode, post code, postal code, postal, "
        "census tract, census block, block group, fips, geocode, geolocation, gps, coordinates, "
        "latitude, longitude, place of birth, birth place, birthplace, place of residence, "
        "residence, hometown, "
        "plz, postleitzahl, strasse, str nr, hausnummer, wohnort, stadt, gemeinde, landkreis, "
        "anschrift, adresse, geburtsort, rue, ville, commune, code postal, codepostal, "
        "lieu de naissance, calle, direccion, ciudad, municipio, domicilio, codigo postal, "
        "lugar de nacimiento, localidad, poblacion, indirizzo, citta, comune, "
        "codice postale, luogo di nascita, residenza, straat, straatnaam, huisnummer, adres, "
        "woonplaats, gemeente, geboorteplaats, rua, endereco, cidade, bairro, logradouro, "
        "concelho, freguesia, morada, local de nascimento"
    ),
    _C.DATE: (
        "date, date of birth, birth date, dob, dod, birthday, birthdate, date of death, timestamp, "
        "datetime, admission date, discharge date, visit date, admittime, dischtime, deathtime, "
        "datum, geburtsdatum, geburtstag, sterbedatum, aufnahmedatum, entlassdatum, geb datum, "
        "date de naissance, naissance, date de deces, fecha, fecha de nacimiento, nacimiento, "
        "data di nascita, data nascita, data ricovero, data dimissione, geboortedatum, "
        "opnamedatum, overlijdensdatum, data de nascimento, data nascimento, nascimento, "
        "data de admissao, data da alta, data obito"
    ),
    _C.UNIQUE_CODE: (
        "id, identifier, uuid, guid, uid, barcode, bar code, qr code, accession, accession number, "
        "accession no, sample number, sample no, specimen number, study number, record no, "
        "token, tracking number, row number, rownum, hash, kennung, identifikator, kennnummer, "
        "identifiant, identificador, identificativo, identificatie, study uid, series uid, "
        "sop instance, username, user name, login, benutzername, identificacion"
    ),
}
"""Phrases that may stand anywhere in a column's name."""

WHOLE: dict[IdentifierClass, str] = {
    _C.NAME: (
        "name, names, patient, first, last, middle, maiden, given, family, doctor, physician, "
        "surgeon, nurse, guardian, spouse, mother, father, attending, consultant, contact person, "
        "arzt, behandelnder arzt, nom, medecin, medico, naam, arts, prefix, suffix"
    ),
    _C.PHONE: "mobile, cell, handy, contact, portable",
    _C.ACCOUNT: "account, bic, swift, compte",
    _C.PHOTO: "image, bild, img",
    _C.GEOGRAPHY: "lat, lon, lng, long, ort, cep, provincia",
    _C.LICENCE: "license, licence",
    _C.VEHICLE: "plate, plaque, placa",
    _C.DEVICE: "serial, device serial",
    _C.HEALTH_PLAN: "policy, mbi, cns",
    _C.MEDICAL_RECORD: "pid, ipp, nip, dossier",
    _C.NATIONAL_ID: "nie, nif, nir, nhs, sin",
    _C.URL: "web, link",
    _C.UNIQUE_CODE: "index, idx, key, unnamed 0, row, rowid",
    _C.DATE: "birth, death, geburt, admitted, discharged",
}
"""Phrases that count only when they are the whole name: parts of other names otherwise."""

_ABOUT_TEXT = (
    "type types status flag count counts category kind class indicator has is had any use "
    "used uses preferred format length duration days months years hours level score rate "
    "ratio pct percent share typ art anzahl tipo nombre_de numero_de type_de yn bool "
    "available known verified consent reason accuracy missing number_of quality result"
)
ABOUT = frozenset(_ABOUT_TEXT.split())
"""Words that make a name one *about* an identifier (`phone_type`, `has_email`), not one."""

_VOCABULARY_TEXT = (
    "icd icd9 icd10 icd9cm icd10cm loinc snomed cpt hcpcs drg atc ndc rxnorm opcs ops mesh "
    "diagnosis diagnoses dx diagnose diagnostic procedure drug medication medicine substance "
    "gene variant allele genotype test lab analyte concept vocabulary ingredient formulary "
    "pzn gsn hpo omim phenotype farmaco medicamento medikament wirkstoff medicijn medicament "
    "farmaci"
)
VOCABULARY = frozenset(_VOCABULARY_TEXT.split())
"""Words that say the column holds terms or codes of a public vocabulary."""

_AGE_TEXT = "age alter edad eta leeftijd idade ages"
AGE = frozenset(_AGE_TEXT.split())
_AGE_UNITS_TEXT = "month months week weeks day days hour hours group gestational monate"
_AGE_UNITS = frozenset(_AGE_UNITS_TEXT.split())
_BIRTH = (
    "birth, dob, birthdate, birthday, geburtsdatum, geburtstag, geburt, naissance, nacimiento, "
    "nascita, geboortedatum, nascimento, birth date, date of birth"
)
_ZIP = "zip, zip code, zipcode, zip5, zip9, postal code, postcode, post code, postal"
_COORDINATE = "lat, lon, lng, long, latitude, longitude, gps"
_FREE_TEXT = (
    "note, notes, comment, comments, remark, remarks, narrative, free text, freetext, text, "
    "report, findings, impression, letter, transcript, memo, "
    "bemerkung, bemerkungen, kommentar, notiz, notizen, freitext, befund, anamnese, arztbrief, "
    "commentaire, commentaires, remarque, compte rendu, texte libre, nota, notas, comentario, "
    "comentarios, observaciones, texto, informe, commento, commenti, osservazioni, referto, testo, "
    "opmerking, opmerkingen, notitie, notities, verslag, toelichting, observacao, observacoes, "
    "texto livre, relatorio"
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[a-z0-9]+")
_TAIL_DIGITS = re.compile(r"(?<=[a-z]{3})\d$")


def words(name: str) -> list[str]:
    """The words of a column's name: lower case, without accents and without a trailing digit.

    Example:
        >>> words("Téléphone_Patient2"), words("dateOfBirth")
        (['telephone', 'patient'], ['date', 'of', 'birth'])
    """
    spaced = _CAMEL.sub(" ", name.replace("ß", "ss"))
    plain = unicodedata.normalize("NFKD", spaced).encode("ascii", "ignore").decode().lower()
    found = [_TAIL_DIGITS.sub("", word) for word in _WORD.findall(plain.replace("'", ""))]
    return found if found != ["unnamed"] else ["unnamed", "0"]


def class_by_name(name: str) -> IdentifierClass | None:
    """The identifier class that a column's name speaks of, if any.

    Example:
        >>> class_by_name("Nachname"), class_by_name("phone_type"), class_by_name("chol")
        (<IdentifierClass.NAME: 'name'>, None, None)
    """
    spoken = words(name)
    if not spoken or ABOUT.intersection(spoken):
        return None
    whole = " ".join(spoken)
    for kind, phrases in _WHOLE.items():
        if whole in phrases:
            return kind
    for kind, phrases in _ANYWHERE.items():
        if phrases.intersection(_runs(spoken)):
            vague = kind in (_C.UNIQUE_CODE, _C.NAME) and VOCABULARY.intersection(spoken)
            return None if vague else kind
    return None


def is_age(name: str) -> bool:
    """Whether the column is an age in years."""
    spoken = set(words(name))
    return bool(spoken & AGE) and not spoken & _AGE_UNITS


def is_birth(name: str) -> bool:
    """Whether the column is a date of birth."""
    return _speaks_of(name, _BIRTH_PHRASES)


def is_us_zip(name: str) -> bool:
    """Whether the column may be a ZIP code of the United States, by its name."""
    return _speaks_of(name, _ZIP_PHRASES)


def is_coordinate(name: str) -> bool:
    """Whether the column is a latitude or longitude, by its name."""
    return _speaks_of(name, _COORDINATE_PHRASES)


def is_free_text(name: str) -> bool:
    """Whether the column's name is one of those given to notes."""
    return _speaks_of(name, _FREE_TEXT_PHRASES)


def is_vocabulary(name: str) -> bool:
    """Whether the column's name is one of a public vocabulary, such as ICD or LOINC."""
    return bool(VOCABULARY.intersection(words(name)))


def _speaks_of(name: str, phrases: frozenset[str]) -> bool:
    return bool(phrases.intersection(_runs(words(name))))


def _runs(spoken: list[str]) -> set[str]:
    """All runs of up to four words, and those of two or more written together."""
    spans = range(1, min(4, len(spoken)) + 1)
    return {" ".join(spoken[i : i + n]) for n in spans for i in range(len(spoken) - n + 1)}


def _phrases(text: str) -> frozenset[str]:
    """The phrases of a table, each also with its words run together."""
    listed = [phrase.strip() for phrase in text.split(",")]
    together = [p.replace(" ", "") for p in listed if len(p.replace(" ", "")) > 4]
    return frozenset([*listed, *together])


_ANYWHERE = {kind: _phrases(text) for kind, text in PHRASES.items()}
_WHOLE = {kind: frozenset(t.strip() for t in text.split(",")) for kind, text in WHOLE.items()}
_BIRTH_PHRASES = _phrases(_BIRTH)
_ZIP_PHRASES = _phrases(_ZIP)
_COORDINATE_PHRASES = _phrases(_COORDINATE)
_FREE_TEXT_PHRASES = _phrases(_FREE_TEXT)
